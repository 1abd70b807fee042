"""Jobs with hostile IDs and voices: a worker answers each, and touches only its own keys."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.conftest import eventually, running
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session
from tests.recordings import make_voice
from tests.security.nasty import NASTY, ODD
from tests.tone import ToneEngine
from worker.settings import Settings

SLOTS = 32


def publish(valkey: redis.Redis, **fields: bytes) -> str:
    entry_id: Any = valkey.xadd(KEYS.jobs, {"text": b"Hi.", "ttl_ms": b"300000", **fields})  # type: ignore[dict-item]
    return str(entry_id.decode())


def dead(valkey: redis.Redis) -> dict[str, str]:
    """{job's entry: reason} of the dead letters."""
    letters: Any = valkey.xrange(KEYS.dead)
    return {fields[b"dead_id"].decode(): fields[b"dead_reason"].decode() for _, fields in letters}


async def settle_all(valkey: redis.Redis, settings: Settings) -> None:
    async with running(settings.model_copy(update={"slots": SLOTS}), ToneEngine(SLOTS)):
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=30)
    check_queue_is_empty(valkey)


def sessions_with_keys(valkey: redis.Redis) -> set[str]:
    """The sessions that own the keys there are; fails on a key that is neither one of theirs nor of the job plane."""
    found = set()
    for key in valkey.scan_iter(count=1000):
        name = key.decode()
        if name in KEYS.job_plane or re.fullmatch(re.escape(KEYS.seen_prefix) + "[0-9a-f]{40}", name):
            continue
        own = re.fullmatch(r"makima:\{([A-Za-z0-9._:-]{1,128})\}:(audio|cut|job:[0-9]+-[0-9]+)", name)
        assert own, name
        found.add(own[1])
    return found


async def test_sessions_that_could_be_other_keys_get_no_key_and_are_dead_lettered(
    valkey: redis.Redis, settings: Settings
) -> None:
    jobs = {publish(valkey, session_id=value) for value in NASTY}
    await settle_all(valkey, settings)
    assert sessions_with_keys(valkey) == set()
    assert dead(valkey) == dict.fromkeys(jobs, "invalid_field")


async def test_odd_sessions_that_are_allowed_are_spoken_to_each_on_its_own(
    valkey: redis.Redis, settings: Settings
) -> None:
    """Among them `speak`, whose keys share the job plane's hash tag."""
    jobs = {odd: publish(valkey, session_id=odd.encode(), job_id=odd.encode()) for odd in ODD}
    await settle_all(valkey, settings)
    assert sessions_with_keys(valkey) == set(ODD)
    for odd, entry_id in jobs.items():
        (heard,) = read_session(valkey, odd).items()
        assert heard[0] == entry_id
        check_complete(heard[1])
        assert heard[1].complete.job_id == odd


async def test_job_ids_that_could_be_other_keys_are_answered_in_their_session(
    valkey: redis.Redis, settings: Settings
) -> None:
    jobs = {publish(valkey, session_id=b"s1", job_id=value) for value in NASTY}
    await settle_all(valkey, settings)
    assert sessions_with_keys(valkey) == {"s1"}
    heard = read_session(valkey, "s1")
    assert heard.keys() == jobs
    for entry_id, job in heard.items():
        assert (job.error.code, job.error.field, job.error.job_id) == ("invalid_field", "job_id", entry_id)
    assert dead(valkey) == dict.fromkeys(jobs, "invalid_field")


_opened: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event in ("open", "os.listdir", "os.scandir"):
        _opened.append(str(arguments[0]))


sys.addaudithook(_note)  # for good: Python has no way to take one off


@contextmanager
def files_opened() -> Iterator[list[str]]:
    """The paths that this process opens or lists meanwhile."""
    global _opened  # noqa: PLW0603
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


async def test_voices_that_could_be_other_files_are_unknown_and_no_file_is_opened(
    valkey: redis.Redis, settings: Settings, tmp_path: Path
) -> None:
    secret = make_voice(tmp_path / "outside", "secret")
    make_voice(tmp_path / "voices", "alice")
    (tmp_path / "voices" / ".hidden").symlink_to(secret)
    climbing = [
        "../outside/secret",
        "alice/../../outside/secret",
        str(secret),
        "../outside/secret/voice.toml",
        ".hidden",
    ]
    names = [*(name.encode() for name in climbing), *NASTY, b"alice/", b"Alice", b"alice\x00", b"alice.", b"./alice"]
    with files_opened() as opened:
        assert (secret / "voice.toml").read_text("utf-8")
        assert str(secret / "voice.toml") in opened
    settings = settings.model_copy(update={"voices_dir": tmp_path / "voices", "default_voice": "alice"})
    jobs = {publish(valkey, session_id=b"s1", voice=name) for name in names}
    async with running(settings.model_copy(update={"slots": SLOTS}), ToneEngine(SLOTS)):
        with files_opened() as opened:
            await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=30)
        assert [path for path in opened if path.startswith(str(tmp_path))] == []
    heard = read_session(valkey, "s1")
    assert heard.keys() == jobs
    assert {job.error.code for job in heard.values()} == {"unknown_voice", "invalid_field"}
    assert {job.error.field for job in heard.values()} == {"voice"}
