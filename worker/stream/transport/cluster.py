"""The link to a Cluster: routes each command to the server that owns its key's slot.

redis-py's Cluster client sends one command at a time on each connection, uses COMMAND, which the worker's ACL user may
not run, and converts replies to types of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from worker.stream.transport.address import Address, AddressError
from worker.stream.transport.base import Word
from worker.stream.transport.connection import OnMessage
from worker.stream.transport.link import PipelinedLink, SharedAttempt
from worker.stream.transport.retry import PASSING

N_REDIRECTIONS = 5
Place = tuple[str, int]  # host, port
T = TypeVar("T")


class ClusterLink:
    """Commands must name their keys as `key_of` finds them, and all of one command's keys must share a slot.

    home: the key to whose owner commands without a key go; None for the owner of slot 0.
    """

    def __init__(
        self, address: Address, timeout_s: float, on_message: OnMessage | None = None, home: Word | None = None
    ) -> None:
        self._address = address
        self._home = home
        self._on_message = on_message
        self._timeout_s = timeout_s
        self._servers: dict[Place, PipelinedLink] = {}
        self._owners: list[Place | None] = []  # [slot]
        self._is_stale = True
        self._once = SharedAttempt()
        self.scripts: set[str] = set()  # known to one server; another answers NOSCRIPT

    @property
    def is_connected(self) -> bool:
        return bool(self._servers) and all(server.is_connected for server in self._servers.values())

    @property
    def n_breaks(self) -> int:
        return sum(server.n_breaks for server in self._servers.values())

    async def call(self, *command: Word) -> Any:
        async def send(server: PipelinedLink, is_asking: bool) -> Any:
            if not is_asking:
                return await server.call(*command)
            _, answer = await server.batch(("ASKING",), command)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return await self._routed(key_of(command), send)

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        async def send(server: PipelinedLink, is_asking: bool) -> list[Any]:
            if is_asking:
                raise TryAgainError("the keys of a transaction are being moved to another server")
            return await server.transaction(*commands)

        return await self._routed(key_of(commands[0]), send)

    async def close(self) -> None:
        for server in self._servers.values():
            await server.close()

    async def _routed(self, key: Word | None, send: Callable[[PipelinedLink, bool], Awaitable[T]]) -> T:
        place, is_asking = await self._owner(key), False
        for _ in range(N_REDIRECTIONS):
            try:
                return await send(self._server(place), is_asking)
            except AskError as moved:  # MovedError is one
                is_asking = not isinstance(moved, MovedError)
                self._is_stale |= not is_asking
                place = (moved.host or place[0], moved.port)
            except PASSING:
                self._doubt(place)
                raise
        raise TryAgainError(f"the Cluster's servers sent a command on {N_REDIRECTIONS} times")

    async def _owner(self, key: Word | None) -> Place:
        while self._is_stale:
            await self._once(self._learn)
        key = self._home if key is None else key
        slot = key_slot(_as_bytes(key)) if key is not None else 0
        owner = self._owners[slot]
        if owner is None:
            self._is_stale = True
            raise ClusterDownError(f"no server of the Cluster owns slot {slot}")
        return owner

    async def _learn(self) -> None:
        """Read the slot map from the first server that returns it."""
        problems: list[str] = []
        for place in list(dict.fromkeys([*self._servers, *self._address.hosts])):
            try:
                ranges = await self._server(place).call("CLUSTER", "SLOTS")
            except (redis.ResponseError, *PASSING) as error:  # ResponseError: not a server of a Cluster
                self._doubt(place)
                problems.append(f"{place[0]}:{place[1]} {type(error).__name__}: {error}")
                continue
            self._owners, self._is_stale = _owners_of(ranges, place[0]), False
            return
        raise redis.ConnectionError(f"no server of the Cluster answers: {'; '.join(problems)}")

    def _doubt(self, place: Place) -> None:
        """Read the slot map again, and from this server last: it may hang, or be cut off from the others."""
        self._is_stale = True
        self._servers[place] = self._servers.pop(place)

    def _server(self, place: Place) -> PipelinedLink:
        if place not in self._servers:
            try:
                address = self._address.node(*place)
            except AddressError:
                raise redis.ConnectionError(f"the Cluster names a server that cannot be reached: {place}") from None
            self._servers[place] = PipelinedLink(address, self._timeout_s, self._on_message)
        return self._servers[place]


def _owners_of(ranges: Any, asked: str) -> list[Place | None]:
    """[slot] -> owner, from the reply to CLUSTER SLOTS. asked: the replying host, which may leave its own name out."""
    owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    try:
        for first, last, (host, port, *_), *_ in ranges:
            owner = (host.decode() if host else asked, int(port))
            for slot in range(first, last + 1):
                owners[slot] = owner
    except (ValueError, TypeError, AttributeError, LookupError):
        raise redis.ConnectionError("the Cluster's answer to CLUSTER SLOTS cannot be read") from None
    return owners


_WITHOUT_KEY = frozenset({"TIME", "PING", "INFO", "CLUSTER", "SCRIPT", "CONFIG", "DBSIZE"})
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "XGROUP": 2, "XINFO": 2}


def key_of(command: tuple[Word, ...]) -> Word | None:
    """The first key of a command. None for a command without a key, which goes to the owner of the link's `home`."""
    name = str(command[0]).upper()
    if name in _WITHOUT_KEY:
        return None
    if name == "SCAN":  # the pattern has the hash tag of the wanted keys
        return command[command.index("MATCH") + 1]
    if name in ("XREAD", "XREADGROUP"):
        return command[command.index("STREAMS") + 1]
    return command[_KEY_AT.get(name, 1)]


def _as_bytes(key: Word) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode()
