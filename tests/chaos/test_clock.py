"""A server's clock is set and set back; where that is impossible, the reason is reported."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clock import Clock, MissingClock
from tests.chaos.setups import open_setup
from tests.processes import until

needs_faketime = pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")


@needs_faketime
def test_a_clock_is_set_forward_and_back_while_the_server_runs(tmp_path: Path) -> None:
    with open_setup("valkey", tmp_path) as setup, setup.client() as client:
        assert isinstance(setup.clock, Clock)
        for ahead_s in (0, 90, 0, 150, 0):
            setup.clock.set_ahead(ahead_s)
            assert until(lambda ahead_s=ahead_s: abs(_ahead_s(client) - ahead_s) < 20)  # type: ignore[misc]
        setup.clock.set_ahead(120)
        setup.restart(hard=True)
        assert until(lambda: _ahead_s(client) > 100)


def _ahead_s(client: Any) -> float:
    return float(client.time()[0]) - time.time()


def test_without_faketime_no_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingClock, match="faketime is not installed"):
        Clock(tmp_path, "/bin/true")


@needs_faketime
def test_a_program_that_cannot_bear_it_keeps_its_clock(tmp_path: Path) -> None:
    assert shutil.which("false") is not None
    with pytest.raises(MissingClock, match="false does not start under libfaketime"):
        Clock(tmp_path, str(shutil.which("false")))
