"""This machine's host name, as valid text."""

from __future__ import annotations

import socket


def host_name() -> str:
    """The host name. Bytes that are not UTF-8 become replacement characters."""
    return as_text(socket.gethostname())


def as_text(name: str) -> str:
    """A name from the operating system with surrogate escapes replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
