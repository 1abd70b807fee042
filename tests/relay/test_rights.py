"""A relay as the user `relay` of deploy/redis/users.acl, over plain Redis and over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.relay.callers import CANCELLED, DONE, started
from tests.relay.conftest import Start
from tests.relay.scripted import ScriptedWorker
from tests.relay.test_door import http
from tests.security.deployed import Access, deployed, tls_options
from tests.stream.servers import OPENSSL, REDIS, Certificates
from worker.stream.keys import Keys


@pytest.fixture(scope="module", params=["plain", "TLS"])
def access(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    if REDIS is None or (request.param == "TLS" and OPENSSL is None):
        pytest.skip("redis-server or openssl is not installed; the ACL file is not tried on a real server")
    folder = tmp_path_factory.mktemp("deployed")
    if request.param == "plain":
        with deployed(folder / "redis") as one:
            yield one.access
    else:
        certificates = Certificates(tmp_path_factory.mktemp("certificates"))
        with deployed(folder / "redis", tls_options(certificates), certificates["ca.pem"]) as one:
            yield one.access


def variables(access: Access) -> dict[str, str]:
    given = {"URL": access.url, "USERNAME": "relay", "PASSWORD_FILE": access.secrets / "relay"}
    given |= {"CA_FILE": access.ca_file} if access.ca_file is not None else {}
    return {f"MAKIMA_TTS_REDIS_{name}": str(value) for name, value in given.items()}


@pytest.mark.parametrize("n_own", [64, 0])
async def test_one_user_may_do_all_that_a_relay_does(n_own: int, access: Access, start: Start) -> None:
    relay = start(variables(access), own_connections=n_own)
    with access.client("test", decode_responses=False) as everything:
        everything.acl_log_reset()
        async with started(relay.url) as caller:
            worker = ScriptedWorker(everything, caller.session_id)
            await caller.send("text", text="Hello ")
            await worker.job(1)
            worker.begin(1)
            worker.audio(1, 0, b"ab")
            await caller.send("text", text="there.")
            await caller.send("end")
            await worker.text(1, [{"text": "Hello there."}, {"end": True}])
            worker.complete(1)
            assert (await caller.utterance()).answer == DONE
            await caller.send("speak", text="How are you?")
            await worker.job(2)
            worker.begin(2)
            worker.audio(2, 0, b"ab")
            begun = await caller.first_chunk()
            await caller.send("stop")
            await worker.cut(2)
            worker.complete(2)
            assert (await caller.utterance(begun)).answer == CANCELLED
            await caller.send("speak", text="Until it leaves.")
            await worker.job(3)
        await worker.cut(3)
        key = Keys().audio(caller.session_id)
        await eventually(lambda: 0 < int(everything.pttl(key)) <= 10_000)
        assert everything.acl_log() == []


async def test_a_wrong_password_fails_the_health_check_and_is_not_logged(
    access: Access, start: Start, tmp_path: Path
) -> None:
    """The relay starts all the same, as it does without Redis."""
    (tmp_path / "wrong").write_text("unspeakable\n")
    relay = start(variables(access) | {"MAKIMA_TTS_REDIS_PASSWORD_FILE": str(tmp_path / "wrong")})
    assert (await http(relay, "/healthz"))[0] == 503
    async with started(relay.url) as caller:
        await caller.send("speak", text="Hello there.")
        answer = (await caller.utterance()).answer
    assert answer["code"] == "unavailable"
    assert "unspeakable" not in relay.written() + answer["message"]
