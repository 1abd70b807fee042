"""The interface of a link: to one server, to the master of a Sentinel service, or to a Cluster."""

from __future__ import annotations

from typing import Any, Protocol

from redis.exceptions import NoScriptError

from schemas.errors import MakimaError
from worker.stream.scripts import Script

Word = str | bytes | int | float


class LinkClosedError(MakimaError):
    """The link was closed by its owner and sends no more commands."""


class Link(Protocol):
    """Sends commands. Raises redis-py's errors; `worker.stream.transport.retry.PASSING` lists the temporary ones.

    A command that fails with a connection error may have been carried out: send only commands that can be sent twice.
    is_connected: whether a connection is open. n_breaks: connections that have broken so far. scripts: SHAs of the
    scripts whose source the connection has sent.
    """

    scripts: set[str]

    @property
    def is_connected(self) -> bool: ...

    @property
    def n_breaks(self) -> int: ...

    async def call(self, *command: Word) -> Any:
        """Send one command; returns its raw RESP2 reply (bytes, int, list or None)."""

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        """MULTI, the commands, EXEC; returns their replies, with an error in the place of a command refused at EXEC."""

    async def close(self) -> None:
        """Fail the commands without a reply; later calls raise LinkClosedError."""


async def run_script(link: Link, script: Script, keys: tuple[str, ...], *arguments: Word) -> Any:
    """Run a script and return its reply: EVALSHA, or EVAL with the source where the server may not have the script.

    A new connection begins with EVAL, since EVALSHA on a server without the script costs a round trip.
    """
    if script.sha in link.scripts:
        try:  # not contextlib.suppress, which costs half a microsecond, three times a job
            return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            pass
    link.scripts.add(script.sha)
    return await link.call("EVAL", script.source, len(keys), *keys, *arguments)
