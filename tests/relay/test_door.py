"""Who is let in, what else is served, and how a relay ends."""

from __future__ import annotations

import asyncio
import signal
import urllib.error
import urllib.request
from pathlib import Path

import redis
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus

from tests.conftest import eventually
from tests.relay.callers import calling, started
from tests.relay.conftest import Start
from tests.relay.relays import Relay
from tests.relay.scripted import ScriptedWorker
from tests.stream.servers import HOST, free_port
from worker.stream.keys import Keys


async def refusal(url: str, **options: object) -> int:
    """The HTTP status of a refused socket; 101 for one that was let in."""
    try:
        async with calling(url, **options):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def http(relay: Relay, path: str) -> tuple[int, str, str]:
    """Status, content type and body."""

    def fetch() -> tuple[int, str, str]:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{relay.port}{path}", timeout=20) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, "", ""

    return await asyncio.to_thread(fetch)


async def test_the_page_the_health_and_the_metrics_are_served(relay: Relay) -> None:
    async with started(relay.url):
        status, kind, page = await http(relay, "/")
        assert (status, kind.partition(";")[0]) == (200, "text/html")
        assert "v1/speak" in page
        assert (await http(relay, "/healthz"))[0] == 200
        status, kind, metrics = await http(relay, "/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    families = list(text_string_to_metric_families(metrics))
    assert any(sample.value >= 1 for family in families if "sockets" in family.name for sample in family.samples)
    assert (await http(relay, "/mood"))[0] == 404
    assert 400 <= (await http(relay, "/api/v1/speak"))[0] < 500


async def test_a_page_of_another_host_is_refused(relay: Relay) -> None:
    own = f"http://{HOST}:{relay.port}"
    assert await refusal(relay.url, origin=own) == 101
    assert await refusal(relay.url.replace(HOST, "localhost"), origin=f"http://localhost:{relay.port}") == 101
    strangers = ("https://mood.example", f"http://{HOST}", f"http://{HOST}:1", f"{own}.mood.example", "null", "mood")
    for stranger in strangers:
        assert await refusal(relay.url, origin=stranger) == 403, stranger


async def test_a_token_and_origins_and_the_number_of_sockets(start: Start, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pass+word&/=\n")
    origins = "https://a.example,http://b.example:81"
    relay = start(redis_url=redis_url, token_file=tmp_path / "token", origins=origins, max_sockets=2)
    good = {"additional_headers": {"Authorization": "Bearer pass+word&/="}}
    in_query = f"{relay.url}?access_token=pass%2Bword%26%2F%3D"
    for token in ("", "Bearer", "Bearer ", "Bearer pass", "Bearer pass+word&/=x", "Basic pass+word&/="):
        assert await refusal(relay.url, additional_headers={"Authorization": token}) == 401, token
    for query in ("", "?access_token=", "?access_token=a", "?token=pass%2Bword%26%2F%3D"):
        assert await refusal(relay.url + query) == 401, query
    assert await refusal(relay.url, **good) == await refusal(in_query) == 101
    for origin in ("https://a.example", "http://b.example:81", f"http://{HOST}:{relay.port}"):
        assert await refusal(in_query, origin=origin) == 101, origin
    for origin in ("http://a.example", "https://a.example:444", "http://b.example", "https://x.a.example"):
        assert await refusal(in_query, origin=origin) == 403, origin
    async with calling(in_query) as one, calling(relay.url, **good) as two:
        await one.start()
        await two.start()
        assert await refusal(in_query) == 503
    let_in = [await refusal(in_query) for _ in range(3)]
    assert 101 in let_in, let_in


async def test_any_origin_and_an_end_by_sigterm_that_leaves_the_sessions(
    start: Start, redis_url: str, valkey: redis.Redis
) -> None:
    relay = start(redis_url=redis_url, origins="*")
    async with started(relay.url) as idle, calling(relay.url, origin="https://mood.example") as speaking:
        await speaking.start()
        worker = ScriptedWorker(valkey, speaking.session_id)
        await speaking.send("speak", text="Hello there.")
        await worker.job(1)
        relay.popen.send_signal(signal.SIGTERM)
        for caller in (idle, speaking):
            assert await caller.status() == 1001
        await worker.cut(1)
    assert await asyncio.to_thread(relay.popen.wait, 20) == 0


async def test_a_client_that_goes_away_leaves_its_session(relay: Relay, valkey: redis.Redis) -> None:
    """Its jobs are cancelled and its stream expires soon, whether it closes or breaks off."""
    for is_polite in (True, False):
        async with started(relay.url) as caller:
            worker = ScriptedWorker(valkey, caller.session_id)
            await caller.send("speak", text="Hello there.")
            await caller.send("text", text="How are")
            await worker.job(2)
            worker.write(1, "segment", {"index": 0, "pos": 0, "text": "Hello there."})
            if not is_polite:
                caller.socket.transport.abort()
        await worker.cut(2)
        key = Keys().audio(caller.session_id)
        await eventually(lambda key=key: 0 < valkey.pttl(key) <= 10_000)  # type: ignore[misc]


async def test_a_relay_without_redis_starts_and_answers_unavailable(start: Start) -> None:
    relay = start(redis_url=f"redis://{HOST}:{free_port()}/0")
    assert (await http(relay, "/healthz"))[0] == 503
    async with started(relay.url) as caller:
        await caller.send("speak", text="Hello there.")
        await caller.send("text", text="How are you?")
        for _ in range(2):
            answer = (await caller.utterance()).answer
            assert (answer["type"], answer["code"]) == ("error", "unavailable")
        await caller.send("speak", text="Stopped at once.")
        await caller.send("stop", played_ms=0)
        assert (await caller.receive())["type"] == "text_heard"
        assert (await caller.receive(within_s=4)) == {"type": "complete", "cancelled": True}
