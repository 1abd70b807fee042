"""What this machine calls itself, as text that may be written anywhere."""

from __future__ import annotations

import socket


def host_name() -> str:
    """The host's name. A system may give any bytes; what is no UTF-8 becomes a replacement character."""
    return as_text(socket.gethostname())


def as_text(name: str) -> str:
    """A name of the system's without the surrogates that stand for bytes which are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
