"""Relay processes for the tests: each test runs on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from tests.relay import relays
from tests.relay.live import Stage, Undisturbed
from tests.relay.live import stage as live_stage
from tests.relay.relays import Relay
from worker.embedded import embedded_valkey

Start = Callable[..., Relay]


@pytest.fixture(scope="session", params=["python", "rust"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How a relay is started."""
    if request.param == "python":
        return relays.PYTHON
    if (built := relays.rust()) is None:
        pytest.skip(relays.NOT_BUILT)
    return built


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A server for relays without a worker. It is no other test's: a worker here writes its keys again when emptied."""
    with embedded_valkey() as server:
        yield server.url


@pytest.fixture(scope="session", params=["own connections", "hints"])
def relay(request: pytest.FixtureRequest, command: tuple[str, ...], redis_url: str) -> Iterator[Relay]:
    """A relay for all tests that give it a scripted worker, in each way of reading."""
    n_own = 64 if request.param == "own connections" else 0
    with relays.relay(command, redis_url=redis_url, own_connections=n_own) as one:
        yield one


@pytest.fixture
def start(command: tuple[str, ...]) -> Iterator[Start]:
    """Starts relays of a test's own. They take what `relays.relay` takes."""
    with ExitStack() as stack:
        yield lambda *given, **options: stack.enter_context(relays.relay(command, *given, **options))


@pytest.fixture
def valkey(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, protocol=2) as connected:
        yield connected


@pytest.fixture(scope="session")
def undisturbed(redis_url: str) -> Iterator[Undisturbed]:
    """The samples of texts, by a worker that nothing disturbs."""
    one = Undisturbed(redis_url)
    yield one
    one.end()


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """A server and workers that tests may break; `fill` replaces workers that were killed."""
    with live_stage() as one:
        yield one


@pytest.fixture(scope="session")
def live(command: tuple[str, ...], stage: Stage) -> Iterator[Relay]:
    """A relay on the stage."""
    with relays.relay(command, redis_url=stage.server.url) as one:
        yield one
