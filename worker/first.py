"""The first steps of a process, before slow imports: standard files, signals, and the duties of PID 1.

Until there is something to finish, a signal keeps its default action: it ends the process at once, even during a long
call into C such as the loading of a model. The kernel gives PID 1 no default actions, and makes it the parent of
orphans. There a child process does the work, and PID 1 forwards signals, reaps children, and exits with its status.

A signal to PID 1 is lost before it is handled. So only built-in modules are imported here: importing `signal` takes
longer than all of this.
"""

import os
import sys
from importlib import import_module

signal = import_module("_signal")

PASSED_ON = tuple(getattr(signal, f"SIG{name}") for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"))
IGNORES_HANGUP = "worker"  # until it handles it: SIGHUP reloads the voices


class ProcessStart:
    """How the process was started.

    has_begun: `begin` ran, so the signal handlers may be set; not so where a test runs a command in its own process.
    is_nohup: SIGHUP was ignored at the start, so that the process outlives its terminal.
    """

    has_begun = False
    is_nohup = False


START = ProcessStart()


def begin() -> None:
    """Prepare the process; its entry point calls this once."""
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
    """Let the first signal raise SystemExit, for a command that must end child processes."""
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
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)  # signals wait from now on
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
        return
    _reap(child)  # children that ended before SIGCHLD was blocked
    while True:
        number = signal.sigwait(waited_for)
        if number == signal.SIGCHLD:
            _reap(child)
        else:
            os.kill(child, number)  # it exists: only this process reaps it


def _take_terminal() -> None:
    """Become the terminal's foreground group, so that Ctrl-C arrives here once and not through PID 1 too."""
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(0, os.getpid())
    except OSError:
        pass  # no terminal
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
    """Open /dev/null for closed standard files: a connection with file number 1 or 2 would receive output."""
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
