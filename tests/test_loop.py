"""A worker's loop is uvloop's where that is installed, and its collector leaves alone what stays."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Server, eventually, make_settings
from tests.tone import ToneEngine
from worker.commands import serve
from worker.commands.signals import Signals
from worker.loop import COLLECT_EVERY, freeze_heap, run
from worker.service import Worker
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link


async def kind_of_loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


async def fail() -> None:
    raise LookupError("so it is")


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The loop that `run` takes: asyncio's own only where there is no uvloop."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    else:
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_uvloop_is_taken_where_it_is_installed(loop_kind: str) -> None:
    assert run(kind_of_loop()) == loop_kind


def test_an_error_comes_out_as_it_is(loop_kind: str) -> None:
    with pytest.raises(LookupError, match="so it is"):
        run(fail())


def test_a_connection_serves_breaks_and_is_made_again(loop_kind: str, valkey_server: Server) -> None:
    async def talk() -> list[bytes]:
        link = open_link(Address(valkey_server.url))
        try:
            number = await link.call("CLIENT", "ID")
            first = await asyncio.gather(*[link.call("ECHO", word) for word in ("a", "b", "c")])
            other = open_link(Address(valkey_server.url))
            await other.call("CLIENT", "KILL", "ID", number)
            await other.close()
            await asyncio.sleep(0.05)
            return [*first, await link.call("ECHO", "d")]
        finally:
            await link.close()

    assert run(talk()) == [b"a", b"b", b"c", b"d"]


async def test_a_worker_spares_also_what_its_warm_up_made_and_does_so_before_it_is_ready(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    class Warming(ToneEngine):
        def warm_up(self, voices: object) -> None:
            happened.append("warm")

    made: list[Worker] = []

    def make_worker(*args: Any, **options: Any) -> Worker:
        made.append(Worker(*args, **options))
        return made[-1]

    monkeypatch.setattr(serve, "make_engine", lambda settings: Warming())
    monkeypatch.setattr(serve, "Worker", make_worker)
    monkeypatch.setattr(serve, "freeze_heap", lambda: happened.append(f"frozen, ready: {made[0].is_ready()}"))
    monkeypatch.setattr(Signals, "listen", lambda *_: happened.append("listens"))
    serving = asyncio.create_task(serve._serve(make_settings(valkey_server.url), False, False))
    await eventually(lambda: bool(made) and made[0].is_ready())
    made[0].stop()
    await serving
    assert happened == ["warm", "frozen, ready: False", "listens"]


def test_what_is_loaded_is_spared_and_new_garbage_is_not(collector: None) -> None:
    freeze_heap()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == COLLECT_EVERY
    garbage: list[object] = []
    garbage.append(garbage)
    del garbage
    assert gc.collect() >= 1
