"""The relay between WebSocket clients and the contract's Redis. schemas/vectors/socket.md is its protocol.

It needs the extra `web`. `server` accepts sockets, `socket` answers one client's messages, `session` publishes and
reads that client's jobs, and `planes` has the connections that all sessions share.
"""
