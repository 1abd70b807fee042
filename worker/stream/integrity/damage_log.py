"""The log of damage that scripts find in Redis: counted each time, logged once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from worker.stream.keys import Keys

MAX_LOGGED = 1000

log = logging.getLogger(__name__)


class DamageLog:
    """Thread-safe. count: called for each damage found, with its key's short name."""

    def __init__(self, keys: Keys, count: Callable[[str], None] = lambda key: None) -> None:
        self._keys = keys
        self._count = count
        self._logged: set[tuple[bytes, bytes]] = set()

    def report(self, damage: Sequence[bytes]) -> None:
        """Take the damage of a script's answer: a flat list of a key's short name and the damaged content."""
        for key, what in zip(damage[::2], damage[1::2], strict=False):
            self._count(key.decode("utf-8", "replace"))
            if (key, what) not in self._logged and len(self._logged) < MAX_LOGGED:
                self._logged.add((key, what))
                log.warning(
                    "%s held data that no worker wrote; it was dropped or set aside: %s; see makima-tts queue status",
                    self._keys.job_plane_key(key.decode("utf-8", "replace")), what.decode("utf-8", "replace"),
                )  # fmt: skip
