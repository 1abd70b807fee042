"""The Redis transport: addresses, connections, links and retries."""
