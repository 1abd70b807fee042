"""Rights are taken from the workers' user alone, and given back."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.chaos.rights import TAKEN
from tests.chaos.setups import SETUPS, Setup, open_setup
from tests.stream.servers import needs_cli
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "valkey" else needs_cli) for name in SETUPS])
async def test_what_is_taken_from_the_workers_is_given_back(name: str, tmp_path: Path) -> None:
    with open_setup(name, tmp_path) as setup:
        link = open_link(Address(setup.url))
        try:
            assert await link.call("SET", "{a}", "1", "EX", 60)
            for words in TAKEN:
                setup.rights.take(words)
                assert setup.rights.are_taken
                _check_that_the_driver_writes(setup)
                setup.rights.give_back()
            setup.rights.take(("-@write",))
            with pytest.raises(redis.ResponseError, match=r"NOPERM|No permission|no permissions"):
                await link.call("SET", "{a}", "2", "EX", 60)
            setup.rights.give_back()
            assert await link.call("SET", "{a}", "3", "EX", 60)
            assert not setup.rights.are_taken
        finally:
            await link.close()


def _check_that_the_driver_writes(setup: Setup) -> None:
    with setup.client() as client:
        assert client.set("{a}", "0", ex=60)
