"""Signal handling of a running worker, and of a command that must cancel its job.

Until a worker is ready, SIGTERM and SIGINT keep their default action and end the process at once. From then on the
first one drains the worker, and a second one has its default action again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable

from worker.first import START

log = logging.getLogger(__name__)

ENDING = (signal.SIGTERM, signal.SIGINT)
SAME_S = 0.1  # some supervisors send a signal twice: a repetition within this time is ignored
GONE_AFTER_S = 1.0  # SIGHUP may arrive before the terminal is gone


class Signals:
    """The signal handlers of a worker, for the main thread's event loop. Created before anything slow is loaded.

    ends_on_hangup: SIGHUP ends the command. Otherwise it reloads the voices, and ends a worker whose terminal is gone.
    """

    def __init__(self, ends_on_hangup: bool) -> None:
        self._ends_on_hangup = ends_on_hangup
        self._had_terminal = has_terminal()
        self._is_ending = False
        self._was_hung_up = False
        if not START.has_begun:
            return
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        if not ends_on_hangup:
            signal.signal(signal.SIGHUP, self._note_hangup)

    def listen(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        """From now on, signals call these. A SIGHUP that arrived earlier is handled now."""
        self._loop = asyncio.get_running_loop()
        self._stop, self._reload = stop, reload
        for number in ENDING:
            self._loop.add_signal_handler(number, self._end, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._was_hung_up:
            self._hang_up()

    def _end(self, number: signal.Signals) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        log.info("%s: draining; send SIGTERM or Ctrl-C again to end at once", number.name)
        self._stop()
        self._loop.call_later(SAME_S, self._let_go)

    def _let_go(self) -> None:
        for number in ENDING:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    def _note_hangup(self, number: int, frame: object) -> None:
        self._was_hung_up = True

    def _hang_up(self) -> None:
        if self._is_ending:
            return
        if self._ends_on_hangup or self._has_lost_its_terminal():
            self._end(signal.SIGHUP)
            return
        self._reload()
        self._loop.call_later(GONE_AFTER_S, self._look_for_terminal)

    def _look_for_terminal(self) -> None:
        if not self._is_ending and self._has_lost_its_terminal():
            self._end(signal.SIGHUP)

    def _has_lost_its_terminal(self) -> bool:
        return self._had_terminal and not START.is_nohup and not has_terminal()


class Leaving:
    """The first SIGTERM, SIGINT or SIGHUP cancels the task that creates this; a second one ends the process at once."""

    def __init__(self) -> None:
        self._number: int | None = None
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        if threading.current_thread() is threading.main_thread():
            for number in (*ENDING, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    asyncio.get_running_loop().add_signal_handler(number, self._leave, number)

    def end(self) -> None:
        """End the process by the signal that arrived; return when there was none."""
        if self._number is not None:
            signal.raise_signal(self._number)

    def _leave(self, number: int) -> None:
        for one in (*ENDING, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(one)
            signal.signal(one, signal.SIG_DFL)
        self._number = number
        self._task.cancel()


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
