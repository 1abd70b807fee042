"""Voices that come while others speak: made on a thread of their own, beside the engine's steps.

A segment whose voice is being made waits here, without a slot. Voices that segments wait for are made first. At the
start, and where an engine has nothing to make for a voice, the engine's own thread checks it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from worker.engine.base import Engine, EngineError, VoiceUnavailable
from worker.engine.health import is_beyond_repair
from worker.engine.segment_stream import SegmentStream
from worker.voices.card import Card

NICENESS = 10  # of the thread, on Linux: at this one a speaking engine gets nine tenths of a shared core

JOIN_S = 8.0
HURRIED_S = 0.3


class VoiceMaker:
    """The voices in use, which of them cannot be spoken, and the segments that wait for one.

    wake: called on the maker's thread when a voice is done. Methods may be called on any thread, except `settle` and
    `check_now`, which belong to the engine's.
    """

    def __init__(self, engine: Engine, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._wake = wake
        self._lock = threading.Lock()
        self._cards: list[Card] = []  # in use
        self._known: list[Card] = []  # to be checked on the engine's thread, at once
        self._left: deque[Card] = deque()  # to be made
        self._done: list[tuple[Card, Exception | None]] = []
        self._waiting: list[SegmentStream] = []
        self._problems: dict[str, tuple[Card, str]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def has_news(self) -> bool:
        return bool(self._known or self._done)

    @property
    def is_awaited(self) -> bool:
        """Whether a segment waits for its voice."""
        return bool(self._waiting)

    @property
    def speakable(self) -> list[Card]:
        """The voices in use that can be spoken now."""
        return [card for card in self._cards if self.problem_with(card) is None and self._engine.has_voice(card)]

    def problem_with(self, voice: Card) -> str | None:
        """Why exactly this card cannot be spoken; None also while that is not known yet."""
        card, problem = self._problems.get(voice.name, (None, ""))
        return problem if card == voice else None

    def use(self, cards: Sequence[Card]) -> None:
        """Take these cards in use, and make what is missing."""
        with self._lock:
            self._cards, self._known = list(cards), [card for card in cards if self._engine.has_voice(card)]
            wanted = [stream.segment.voice for stream in self._waiting]
            self._make([*wanted, *(card for card in cards if card not in self._known)])

    def put_aside(self, stream: SegmentStream) -> bool:
        """Keep a segment until its voice is made; False where the engine has it."""
        with self._lock:
            if self._engine.has_voice(stream.segment.voice):
                return False
            self._waiting.append(stream)
            self._make([stream.segment.voice, *self._left])
            return True

    def forget(self, stream: SegmentStream) -> bool:
        """Take a waiting segment out; False where it does not wait here."""
        with self._lock:
            if stream not in self._waiting:
                return False
            self._waiting.remove(stream)
            return True

    def _make(self, cards: Sequence[Card]) -> None:
        self._left = deque() if self._is_closed else deque(cards)
        if self._left and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="voices", daemon=True)
            self._thread.start()

    # The engine's thread.

    def check_now(self, cards: Sequence[Card]) -> None:
        """Take cards in use at the start, and make what is missing on this thread. Raises as `settle`."""
        self._cards, self._known = list(cards), list(cards)
        self.settle()

    def settle(self) -> tuple[list[SegmentStream], list[tuple[SegmentStream, EngineError]]]:
        """The waiting segments whose voices are made, and those whose voices cannot be made, with the reason.

        Raises the error of an engine that failed for another reason than the voice.
        """
        with self._lock:
            known, self._known = self._known, []
            done, self._done = self._done, []
        done += [(card, self._error_of(card)) for card in known]
        checked = [(card, _of_the_voice(error)) for card, error in done]
        ready: list[SegmentStream] = []
        failed: list[tuple[SegmentStream, EngineError]] = []
        for card, error in checked:
            with self._lock:
                its = [stream for stream in self._waiting if stream.segment.voice == card]
                self._waiting = [stream for stream in self._waiting if stream not in its]
            if error is None:
                if self.problem_with(card) is not None:
                    del self._problems[card.name]
                ready += its
            else:
                self._problems[card.name] = (card, str(error))
                failed += [(stream, error) for stream in its]
        return ready, failed

    def end(self) -> list[SegmentStream]:
        """Begin no more voices; returns the segments that wait for one."""
        with self._lock:
            self._is_closed = True
            self._left.clear()
            waiting, self._waiting = self._waiting, []
            return waiting

    def join(self, is_hurried: bool) -> None:
        """Wait for the voice that is being made: its thread is inside torch, and should not outlive the interpreter."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(HURRIED_S if is_hurried else JOIN_S)

    # The maker's thread.

    def _run(self) -> None:
        _give_way()
        while (card := self._next()) is not None:
            error = self._error_of(card)
            with self._lock:
                self._done.append((card, error))
            self._wake()

    def _next(self) -> Card | None:
        with self._lock:
            if self._left:
                return self._left.popleft()
            self._thread = None
            return None

    def _error_of(self, card: Card) -> Exception | None:
        try:
            self._engine.check(card)
        except Exception as error:
            return error
        return None


def _give_way() -> None:
    """Lower this thread's priority, so that where cores are short the speaking engine has them. Linux only."""
    if sys.platform == "linux":  # elsewhere it would be the process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _of_the_voice(error: Exception | None) -> VoiceUnavailable | None:
    """The error where it is the voice's; raises the engine's."""
    if error is None or (isinstance(error, VoiceUnavailable) and not is_beyond_repair(error)):
        return error
    raise error
