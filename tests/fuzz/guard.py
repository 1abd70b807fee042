"""Notices what a parser must not do: print, touch files, start processes, take much memory, never return."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import sysconfig
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
ROOM_MIB = 1024  # above the memory of the process before its first input; beyond it lies a MemoryError
STALL_S = 200  # wall clock
_REPOSITORY = Path(__file__).resolve().parents[2]
_LIBRARIES = (str(_REPOSITORY), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())
_READABLE = (*(str(Path(folder).resolve()) for folder in _LIBRARIES), "/proc/", "/dev/urandom")
_COMPLAINTS = (b"Exception ignored", b"From cffi callback", b"Traceback")  # a decoder may print warnings
_FORBIDDEN = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.system",
    "os.exec", "os.fork", "os.kill", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.bind",
    "socket.getaddrinfo", "shutil.rmtree", "pickle.find_class", "ctypes.dlopen",
)  # fmt: skip


class _FormatsOnly(logging.Handler):
    """Formats every record and drops it, so that a record that cannot be formatted fails."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage().encode()


class Guard:
    """Watches a whole process, for the rest of its life. hang_s: CPU seconds that one input may take."""

    def __init__(self, folder: Path, hang_s: float) -> None:
        self._hang_s = hang_s
        self._folder = str(folder.resolve())
        self._allowed: tuple[str, ...] = ()
        self._is_parsing = False
        self._deeds: list[str] = []
        self._printed = _n_printed()
        warnings.simplefilter("error")
        logging.basicConfig(handlers=[_FormatsOnly()], level=logging.DEBUG, force=True)
        sys.addaudithook(self._audit)
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)

    def limit_memory(self) -> None:
        """Limit the address space to what the process has now and ROOM_MIB more; on Linux only."""
        if n_bytes := _bytes_of("VmSize"):
            resource.setrlimit(resource.RLIMIT_AS, (n_bytes + ROOM_MIB * MIB, resource.RLIM_INFINITY))

    def begin(self, allowed: tuple[str, ...] = ()) -> None:
        """An input is parsed from here on; the kernel ends what never returns. allowed: audit events."""
        self._allowed = allowed
        with suppress(OSError), open("/proc/self/clear_refs", "w") as clear:  # noqa: PTH123
            clear.write("5")  # reset the peak
        self._rss = _bytes_of("VmRSS")
        signal.setitimer(signal.ITIMER_PROF, self._hang_s)
        signal.alarm(STALL_S)
        self._is_parsing = True

    def end(self) -> None:
        self._is_parsing = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)

    def grown_mib(self) -> float:
        """MiB between the memory before the last input and its peak."""
        return max(0, _bytes_of("VmHWM") - self._rss) / MIB

    def deeds(self) -> list[str]:
        """Forbidden actions since the last call."""
        found, self._deeds = self._deeds, []
        said, complained = self._printed
        self._printed = _n_printed()
        if self._printed[0] != said:
            found.append("printed to stdout")
        complaint = os.pread(2, 10_000, complained)
        if any(words in complaint for words in _COMPLAINTS):
            found.append(f"ignored {complaint.strip()!r:.200}")
        return found

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_parsing:
            return
        if event in _FORBIDDEN and event not in self._allowed:
            self._deeds.append(f"{event}{arguments!r:.100}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
            is_write = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            is_inside = path.startswith((self._folder, *_READABLE)) or "open" in self._allowed
            if is_write or not is_inside:
                self._deeds.append(f"opened {path:.100}{' for writing' if is_write else ''}")


def _n_printed() -> tuple[int, int]:
    return os.fstat(1).st_size, os.fstat(2).st_size


def _bytes_of(field: str) -> int:
    """A figure of this process from /proc; 0 on other systems than Linux."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
