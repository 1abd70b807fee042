"""What a process of ours does before anything slow is imported: its standard files, its signals, and being PID 1.

A signal keeps its default action until there is something to finish: it ends the process at once, also in the middle
of a long call into C, such as the loading of a model. The kernel gives PID 1 no default actions, and orphans are left
for it to reap: there a child does the work, and PID 1 only passes signals on and ends as the child ends.

What PID 1 is sent before it listens is lost, so this imports nothing but built-in modules: `signal` itself takes longer
to import than everything here takes to run.
"""

import os
import sys
from importlib import import_module

signal = import_module("_signal")

PASSED_ON = tuple(getattr(signal, f"SIG{name}") for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"))
IGNORES_HANGUP = "worker"  # until it listens: a hangup reloads it


class ProcessStart:
    """How the process was started. has_begun: by `begin`, so that its signals are ours to set, as they are not where a
    test runs a command. is_nohup: with SIGHUP ignored, to outlive its terminal.
    """

    has_begun = False
    is_nohup = False


START = ProcessStart()


def begin() -> None:
    """Called once, by the process' entry."""
    if os.getpid() == 1:
        _be_init()
    _open_standard_files()
    START.has_begun = True
    START.is_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    if sys.argv[1:2] == [IGNORES_HANGUP]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def unwind_on_signals() -> None:
    """For a command with processes of its own: the first signal ends it by SystemExit, so that it can end them too."""
    if not START.has_begun:
        return
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def leave(number: int, frame: object) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_DFL)  # the second one ends this process at once
        raise SystemExit(128 + number)

    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave)


def _be_init() -> None:
    """Return in a child; PID 1 itself stays here and never returns."""
    waited_for = {*PASSED_ON, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)  # what comes from now on waits for its turn
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
        return
    _reap(child)  # who ended before SIGCHLD was waited for
    while True:
        number = signal.sigwait(waited_for)
        if number == signal.SIGCHLD:
            _reap(child)
        else:
            os.kill(child, number)  # which is there: nobody else reaps it


def _take_terminal() -> None:
    """Be the terminal's foreground group, where there is one: its Ctrl-C then comes here once, and not by PID 1 too."""
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(0, os.getpid())
    except OSError:
        pass  # there is none
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})


def _reap(child: int) -> None:
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _open_standard_files() -> None:
    """Give 0, 1 and 2 to /dev/null where they are closed: a connection that got one of them would be written into."""
    try:
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
        for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
            if getattr(sys, name) is None:
                stream = os.fdopen(fd, mode, encoding="utf-8", errors="backslashreplace")
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
    except OSError:
        pass  # no /dev/null: leave them as they are
