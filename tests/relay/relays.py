"""Both relays as processes: `makima-tts relay`, and `makima-tts-relay` where it is built."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.stream.servers import HOST, free_port

PYTHON = (sys.executable, "-m", "worker.cli", "relay")
START_TIMEOUT_S = 120.0  # on a busy machine
NOT_BUILT = "makima-tts-relay is not built: `make rust` builds it (needs cargo)"
_CRATE = REPOSITORY / "schemas" / "rust"
_RUST = Path(os.environ.get("CARGO_TARGET_DIR", _CRATE / "target")) / "debug" / "makima-tts-relay"


def rust() -> tuple[str, ...] | None:
    """The command of the Rust relay; None where it is not built. With RUST=1 cargo brings it up to date."""
    if os.environ.get("RUST") == "1" and (cargo := shutil.which("cargo")) is not None:
        build = [cargo, "build", "--quiet", "--features", "relay", "--bin", "makima-tts-relay"]
        subprocess.run(build, cwd=_CRATE, check=True)
    return (str(_RUST),) if _RUST.is_file() else None


class Relay:
    """One relay process. variables: of its environment. options: its flags without their dashes, `port` apart."""

    def __init__(
        self, command: tuple[str, ...], folder: Path, variables: Mapping[str, str] | None = None, **options: object
    ) -> None:
        self.port = free_port()
        self.log = folder / f"relay-{self.port}.log"
        given = {"host": HOST, "port": self.port, **options}
        flags = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKIMA_TTS_")}
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [*command, *flags], cwd=folder, env=inherited | {"PYTHONPATH": str(REPOSITORY), **(variables or {})},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/api/v1/speak"

    def wait_until_ready(self) -> None:
        """Until the line with its address is printed."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while f":{self.port}" not in self.written():
            if self.popen.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"the relay did not start: {self.written()[-2000:]}")
            time.sleep(0.01)

    def written(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def end(self) -> int:
        """SIGTERM; -9 when it did not end."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()


@contextmanager
def relay(command: tuple[str, ...], variables: Mapping[str, str] | None = None, **options: object) -> Iterator[Relay]:
    """A relay that is ready. It must end by SIGTERM alone, without a stack trace or a panic in its log."""
    with tempfile.TemporaryDirectory() as folder:
        one = Relay(command, Path(folder), variables, **options)
        try:
            one.wait_until_ready()
            yield one
        finally:
            status = one.end()
        assert re.search("Traceback|panicked|never awaited|never retrieved", one.written()) is None, one.written()
        assert status == 0, one.written()[-2000:]
