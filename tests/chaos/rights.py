"""The Redis user of the workers: its rights are revoked and restored on every server. The driver has another user."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from tests.chaos.patience import OPTIONS, patiently
from tests.stream.servers import HOST

USER, PASSWORD = "chaos-worker", "chaos"
EVERYTHING = ("reset", "on", f">{PASSWORD}", "~*", "&*", "+@all")
OPTION = ("--user", USER, *EVERYTHING[1:])  # of a server that is to know the user from its start
LOGIN = f"{USER}:{PASSWORD}@"
TAKEN = (
    ("-@write",), ("-@read",), ("-@scripting",), ("-evalsha",), ("-xadd",), ("-xclaim",), ("-xread",), ("-time",),
    ("resetkeys",), ("resetkeys", "~other:*"), ("resetkeys", "~makima:{speak}:*"), ("-@all", "+ping"),
    ("resetchannels",), ("-publish", "-spublish"), ("resetkeys", "~makima:{speak}:*", "~makima:{*}:audio"),
)  # fmt: skip


class Rights:
    """ports: of every server that knows the user. A server that restarts meanwhile gives everything back."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self.are_taken = False

    def take(self, words: Sequence[str]) -> None:
        """words: of ACL SETUSER, one of TAKEN."""
        self.are_taken = True
        self._set(words)

    def give_back(self) -> None:
        self._set(EVERYTHING)
        self.are_taken = False

    def _set(self, words: Sequence[str]) -> None:
        for port in self._ports:
            with redis.Redis(HOST, port, **OPTIONS) as client:
                patiently(lambda client=client: client.execute_command("ACL", "SETUSER", USER, *words))  # type: ignore[misc]
