"""`makima-tts dev --web-port` as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import REPOSITORY
from tests.processes import until
from tests.shell import ENVIRONMENT
from tests.stream.servers import HOST, free_port

START_S = 60.0


@dataclass(frozen=True)
class Dev:
    """address: of the page."""

    address: str
    redis_url: str


@contextmanager
def running_dev() -> Iterator[Dev]:
    """Ends as with Ctrl-C, which must succeed."""
    port = free_port()
    command = [sys.executable, "-m", "worker.cli", "dev", "--port", str(port), "--web-port", "0"]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as written:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=written, stderr=written)
        try:
            assert until(lambda: bool(_addresses(log)) or process.poll() is not None, START_S)
            assert _addresses(log), log.read_text("utf-8")
            yield Dev(_addresses(log)[0], f"redis://{HOST}:{port}/0")
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(30)
        assert status == 0, log.read_text("utf-8")


def _addresses(log: Path) -> list[str]:
    return re.findall(r"http://\S+:\d+/", log.read_text("utf-8"))
