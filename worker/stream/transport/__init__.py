"""How commands reach Redis: addresses, connections, retries."""
