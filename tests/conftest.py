"""Servers and workers for the tests. Everything started here is ended here."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from benchmarks import checkpoint
from tests.previewing import Make, SharedNatural
from tests.shell import PREVIEW_VOICES, Run, here, runner
from tests.stream.servers import free_port
from tests.tone import ToneEngine
from worker.embedded import embedded_valkey
from worker.engine.base import Engine
from worker.engine.preview.engine import PreviewEngine
from worker.engine.preview.espeak import Espeak
from worker.observe.tracing.off import Tracing
from worker.service import Worker
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses

KEPT_FOR_EVER = set(Keys().job_plane)
REPOSITORY = Path(__file__).resolve().parent.parent
N_CORES = os.cpu_count() or 1

# The time of an example depends on what else the machine does; a test that never ends is ended by pytest-timeout.
# Examples are the same in every run; pytest --hypothesis-profile=search draws new ones.
hypothesis.settings.register_profile("any machine", deadline=None, derandomize=True)
hypothesis.settings.register_profile(
    "search", deadline=None, derandomize=False, print_blob=True
)  # pytest --hypothesis-profile=search
hypothesis.settings.load_profile("any machine")

if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
    # Without a GPU, Triton's kernels run in its interpreter. Triton reads this when it is imported, also by librosa.
    os.environ.setdefault("TRITON_INTERPRET", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background so, and every process that the tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """The number of processes for `-n auto`: one more than cores, for tests wait half of their time; 6 at most, for
    each takes more than 1 GB."""
    return min(N_CORES + 1, 6)


def pytest_configure(config: pytest.Config) -> None:
    """Divides the cores among the processes of `-n`, which inherit this process's environment."""
    if n_processes := getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, N_CORES // n_processes)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report whose every string is UTF-8: pytest-xdist can send no other, and tests log lone surrogates."""
    return encodable((yield))


def encodable(part: Any) -> Any:
    """The same without lone surrogates, which are escaped."""
    if isinstance(part, str):
        return part.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(part, dict):
        return {encodable(name): encodable(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(encodable(value) for value in part)
    return part


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the whole test run."""

    url: str


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """The embedded Valkey, and stock Redis where it is installed."""
    with ExitStack() as stack:
        found = {"valkey": Server(stack.enter_context(embedded_valkey()).url)}
        if (stock := shutil.which("redis-server")) is not None:
            found["redis"] = Server(stack.enter_context(_stock_redis(stock)))
        yield found


@contextmanager
def _stock_redis(binary: str) -> Iterator[str]:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
            assert client.info("server")["process_id"] == process.pid, f"another program listens on port {port}"
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["valkey", "redis"])
def valkey_server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    """Each test that talks to a server runs on both."""
    if request.param not in servers:
        pytest.skip("no redis-server on this machine: install Debian's redis-server to run on stock Redis too")
    return servers[request.param]


@pytest.fixture
def valkey(valkey_server: Server) -> Iterator[redis.Redis]:
    """An empty Valkey. Fails the test when it leaves a key that never expires and is not on the permanent list."""
    client = redis.Redis.from_url(valkey_server.url, protocol=2)
    client.flushall()
    yield client
    eternal = {key.decode() for key in client.scan_iter(count=1000) if client.ttl(key) == -1}
    client.close()
    assert eternal <= KEPT_FOR_EVER


@pytest.fixture
def settings(valkey: redis.Redis, valkey_server: Server) -> Settings:
    return make_settings(valkey_server.url)


def make_settings(url: str, **changes: object) -> Settings:
    given: dict[str, object] = {
        "redis_url": url,
        "voices_dir": REPOSITORY / "voices",
        "default_voice": "placeholder",
        "engine": "preview",
        "preview_voices": PREVIEW_VOICES,
        "lease_ms": 1000,
        "ahead_ms": 0,
    }
    return Settings(_env_file=None, **(given | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    settings: Settings, engine: Engine | None = None, tracing: Tracing | None = None
) -> AsyncIterator[Worker]:
    """A worker in this process, with a tone engine where none is given; drained at the end."""
    worker = Worker(settings, engine or ToneEngine(8 if settings.slots == "auto" else settings.slots), tracing=tracing)
    task = asyncio.create_task(worker.run())
    while not worker.is_ready():
        if task.done():
            await task
        await asyncio.sleep(0.002)
    try:
        yield worker
    finally:
        worker.stop()
        await task


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with Client(*addresses(settings), Keys(settings.prefix)) as connected:
        yield connected


_PROCESS = {"PYTHONUNBUFFERED": "1", "MAKIMA_TTS_PREVIEW_VOICES": PREVIEW_VOICES, "MAKIMA_TTS_AHEAD_MS": "0"}


class Process:
    """A `makima-tts worker` of its own process."""

    def __init__(self, url: str, *flags: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "worker.cli", "worker", "--redis-url", url, "--engine", "preview"]
        self.popen = subprocess.Popen(
            [*command, "--voice", "placeholder", *flags],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | _PROCESS | (env or {}),
        )

    def wait_until_ready(self) -> None:
        self.wait_for(" ready")

    def wait_for(self, words: str) -> None:
        """Read the worker's log up to a line with these words."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            if words in line:
                return
        raise AssertionError(f"the worker ended with {self.popen.wait()}")

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def end(self) -> int:
        for number in (signal.SIGCONT, signal.SIGTERM):
            if self.popen.poll() is None:
                self.send(number)
        try:
            self.popen.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()
        return self.popen.returncode


@pytest.fixture
def start_worker(valkey_server: Server) -> Iterator[Callable[..., Process]]:
    """Start worker processes; the test gets them ready."""
    started: list[Process] = []

    def start(*flags: str, env: dict[str, str] | None = None) -> Process:
        process = Process(valkey_server.url, *flags, env=env)
        started.append(process)
        process.wait_until_ready()
        return process

    yield start
    for process in started:
        process.end()


async def eventually(is_true: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait until it is true; a test's way to wait for what another process does."""
    deadline = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within_s} s")
        await asyncio.sleep(0.01)


def sample(worker: Worker, name: str, **labels: str) -> float:
    """A worker's metric without its prefix, 0 where no label of it was ever counted."""
    return worker.metrics.registry.get_sample_value(f"makima_tts_{name}", labels) or 0.0


async def http_status(port: int, path: str) -> int:
    """What a worker's health port answers on 127.0.0.1."""

    def fetch() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    return await asyncio.to_thread(fetch)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `makima-tts` in an empty folder, in this process."""
    return here(tmp_path, monkeypatch, capsys)


@pytest.fixture
def shell(tmp_path: Path) -> Run:
    """Run it there in a process of its own."""
    return runner(tmp_path)


@pytest.fixture(scope="session")
def one_thread() -> None:
    """One thread for torch: a tiny model's steps are too small to share, and threads that wait take the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of Qwen3-TTS whose utterances end by their budgets only."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    checkpoint.write("tiny", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_ending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same checkpoint with a long row for the end token: greedy utterances end by themselves, within 60 frames."""
    folder = tmp_path_factory.mktemp("checkpoints") / "ending"
    checkpoint.write("tiny", folder, eos_boost=1.5)
    return folder


@pytest.fixture(scope="session")
def natural() -> Iterator[SharedNatural]:
    """The natural voices of the whole test run."""
    voices = SharedNatural()
    yield voices
    voices.end()


@pytest.fixture
def make_preview() -> Iterator[Make]:
    """Makes preview engines and closes them."""
    with ExitStack() as stack:

        def make(n_slots: int = 4, **options: object) -> PreviewEngine:
            engine = PreviewEngine(n_slots, **{"synthesiser": Espeak(), **options})  # type: ignore[arg-type]
            stack.callback(engine.close)
            return engine

        yield make
