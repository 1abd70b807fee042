"""What was found in Redis that no worker wrote: counted each time, logged once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from worker.stream.keys import Keys

MAX_SAID = 1000

log = logging.getLogger(__name__)


class DamageLog:
    """May be called from several threads. count: called for each thing found, with its key's short name."""

    def __init__(self, keys: Keys, count: Callable[[str], None] = lambda key: None) -> None:
        self._keys = keys
        self._count = count
        self._said: set[tuple[bytes, bytes]] = set()

    def report(self, odd: Sequence[bytes]) -> None:
        """Take the last part of a script's answer: flat, a key's short name and what was odd in it."""
        for key, what in zip(odd[::2], odd[1::2], strict=False):
            self._count(key.decode("utf-8", "replace"))
            if (key, what) not in self._said and len(self._said) < MAX_SAID:
                self._said.add((key, what))
                log.warning(
                    "%s held what no worker wrote, and it was set aside or dropped: %s; see makima-tts queue status",
                    self._keys.job_plane_key(key.decode("utf-8", "replace")), what.decode("utf-8", "replace"),
                )  # fmt: skip
