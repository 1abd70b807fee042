"""A link: where commands go, whatever is behind it (one server, a Sentinel service's master, a Cluster)."""

from __future__ import annotations

from typing import Any, Protocol

from redis.exceptions import NoScriptError

from schemas.errors import MakimaError
from worker.stream.scripts import Script

Word = str | bytes | int | float


class LinkClosedError(MakimaError):
    """The link was closed by its owner; nothing is sent on it any more."""


class Link(Protocol):
    """Sends commands. Raises redis-py's errors; see `worker.stream.transport.retry.PASSING` for those that pass.

    A command that fails with a connection error may have been carried out: only commands that may be repeated are sent.
    is_connected: whether a connection stands, so that a command needs no new one. scripts: SHAs of the scripts whose
    source was sent over the connections that stand.
    """

    scripts: set[str]

    @property
    def is_connected(self) -> bool: ...

    async def call(self, *command: Word) -> Any:
        """Send one command and return its raw answer (bytes, ints, lists)."""

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        """MULTI, the commands, EXEC; a refused command's error stands in its place in the list."""

    async def close(self) -> None:
        """Fail what was not answered; a call after it raises LinkClosedError."""


async def run_script(link: Link, script: Script, keys: tuple[str, ...], *arguments: Word) -> Any:
    """The script's answer: EVALSHA, or EVAL with its source where the server may not have it.

    EVAL goes out first over a new connection, since EVALSHA on a server without the script costs a round trip.
    """
    if script.sha in link.scripts:
        try:  # not contextlib.suppress, which costs half a microsecond, three times a job
            return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            pass
    link.scripts.add(script.sha)
    return await link.call("EVAL", script.source, len(keys), *keys, *arguments)
