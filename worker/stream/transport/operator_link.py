"""A link for operators' commands: the error for a missing right names the command and the key."""

from __future__ import annotations

import re
from typing import Any

from worker.stream.transport.base import Link, Word
from worker.stream.transport.retry import MissingRight

_COMMAND = re.compile(r"'([^' ]+)' command")


class OperatorLink:
    """Wraps a link; raises MissingRight with the command and the key that the user has no right for."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.scripts = link.scripts

    @property
    def is_connected(self) -> bool:
        return self._link.is_connected

    @property
    def n_breaks(self) -> int:
        return self._link.n_breaks

    async def call(self, *command: Word) -> Any:
        try:
            return await self._link.call(*command)
        except MissingRight as error:
            raise MissingRight(_missing(error, command)) from None

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        try:
            return await self._link.transaction(*commands)
        except MissingRight as error:
            raise MissingRight(_missing(error, commands[0])) from None

    async def close(self) -> None:
        await self._link.close()


def _missing(error: Exception, command: tuple[Word, ...]) -> str:
    words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in command]
    at = 2 if words[0] in ("XINFO", "XGROUP") else 1
    name = " ".join(words[:at])
    if found := _COMMAND.search(str(error)):
        name = found[1].replace("|", " ").upper()
    on = "" if name in ("SCAN", "TIME", "MULTI", "EXEC") else f" on {words[at]}"
    return f"this user may not send {name}{on}"
