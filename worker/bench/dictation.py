"""`bench dictation`: how soon a text that is being written sounds, beside the same text published whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import monotonic, perf_counter, sleep
from typing import Any

import msgpack
import redis

from worker.bench.runs import KEYS, START_TIMEOUT_S, BenchError
from worker.bench.runs import run as run_on_redis
from worker.stream.keys import SESSION_TTL_MS

FIRST = "Good morning, I hope you slept well last night."
SECOND = "The kettle is on and the bread is still warm, so come down when you like."
TEXT = f"{FIRST} {SECOND} Later we could walk to the harbour."
N_NEXT_WORDS = 3  # that come in one piece with the end of the first sentence
READY_S = 0.3  # for the worker between two measurements: a natural voice makes its next process


def run(out: str, redis_url: str | None, voices: str, n_rounds: int, word_ms: float) -> int:
    """Print or write milliseconds to the first audio entry, and the ratio of the two."""
    return run_on_redis(out, redis_url, partial(_measured, voices=voices, n_rounds=n_rounds, word_ms=word_ms))


def _measured(client: redis.Redis, url: str, voices: str, n_rounds: int, word_ms: float) -> dict[str, Any]:
    whole, opened, by_word, ahead = [], [], [], []
    with _worker(client, url, voices):
        _whole(client, "warm")
        for n in range(n_rounds):
            whole.append(_whole(client, f"whole-{n}"))
            opened.append(_open(client, f"open-{n}"))
            lag, before = _word_by_word(client, f"words-{n}", word_ms / 1000)
            by_word.append(lag)
            ahead.append(before)
            for name in ("open", "words"):
                if _heard(client, f"{name}-{n}") != _heard(client, f"whole-{n}"):
                    raise BenchError("a text that was being written gave other samples or segments than the whole one")
    ratios = [one / other for one, other in zip(opened, whole, strict=True)]
    return {
        "voices": voices,
        "rounds": n_rounds,
        "word_ms": word_ms,
        "whole_first_audio_ms": _ms(whole),
        "open_first_audio_ms": _ms(opened),
        "open_ratio_to_whole": round(median(ratios), 2),
        "by_word_first_audio_ms": _ms(by_word),
        "by_word_before_second_sentence_ms": _ms(ahead),
    }


@contextmanager
def _worker(client: redis.Redis, url: str, voices: str) -> Iterator[None]:
    command = [sys.executable, "-m", "worker.cli", "worker", "--redis-url", url, "--engine", "preview"]
    process = subprocess.Popen(  # noqa: S603
        [*command, "--preview-voices", voices, "--voice", "placeholder"], stderr=subprocess.DEVNULL
    )
    try:
        deadline = monotonic() + START_TIMEOUT_S
        while not client.hlen(KEYS.workers):
            if monotonic() > deadline or process.poll() is not None:
                raise BenchError(f"the worker did not start within {START_TIMEOUT_S:.0f} s", "run makima-tts doctor")
            sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _whole(client: redis.Redis, session_id: str) -> float:
    sleep(READY_S)
    began = perf_counter()
    _publish(client, session_id, text=TEXT)
    first = _first(client, session_id, b"audio") - began
    _first(client, session_id, b"complete")
    return first


def _open(client: redis.Redis, session_id: str) -> float:
    """From the piece with the end of the first sentence and the next words."""
    _publish(client, session_id, text_from="stream")
    _first(client, session_id, b"begin")
    words = TEXT.split(" ")
    n_before = len(FIRST.split(" ")) - 1
    _write(client, session_id, " ".join(words[:n_before]) + " ")
    sleep(READY_S)
    began = perf_counter()
    _write(client, session_id, " ".join(words[n_before : n_before + 1 + N_NEXT_WORDS]) + " ")
    first = _first(client, session_id, b"audio") - began
    _write(client, session_id, " ".join(words[n_before + 1 + N_NEXT_WORDS :]), end="1")
    _first(client, session_id, b"complete")
    return first


def _word_by_word(client: redis.Redis, session_id: str, word_s: float) -> tuple[float, float]:
    """From the word that ends the first sentence to the first audio, and from that to the end of the second."""
    _publish(client, session_id, text_from="stream")
    _first(client, session_id, b"begin")
    sleep(READY_S)
    written, at = "", {}
    for word in TEXT.split(" "):
        _write(client, session_id, f" {word}" if written else word)
        written = f"{written} {word}".strip()
        at[written] = perf_counter()
        sleep(word_s)
    _write(client, session_id, "", end="1")
    _first(client, session_id, b"complete")
    entries: Any = client.xrange(KEYS.audio(session_id))
    first_ms = next(int(fields[b"at"]) for _, fields in entries if fields[b"type"] == b"audio")
    seconds, microseconds = client.time()
    sounded = perf_counter() - (int(seconds) * 1000 + int(microseconds) / 1000 - first_ms) / 1000
    return sounded - at[FIRST], at[f"{FIRST} {SECOND}"] - sounded


def _publish(client: redis.Redis, session_id: str, **text: str) -> None:
    fields: dict[Any, Any] = {"session_id": session_id, "job_id": "u1", "seed": "1", "ahead_ms": "0"}
    client.xadd(KEYS.jobs, fields | text)


def _write(client: redis.Redis, session_id: str, text: str, **marks: str) -> None:
    key = KEYS.text(session_id, "u1")
    fields: dict[Any, Any] = {"text": text}
    client.xadd(key, fields | marks)
    client.pexpire(key, SESSION_TTL_MS)


def _first(client: redis.Redis, session_id: str, kind: bytes) -> float:
    """When the session's first entry of this type was read."""
    last: Any = "0"
    while True:
        read: Any = client.xread({KEYS.audio(session_id): last}, block=int(START_TIMEOUT_S * 1000))
        if not read:
            break
        if any(fields[b"type"] == kind for _, fields in read[0][1]):
            return perf_counter()
        last = read[0][1][-1][0]
    raise BenchError(f"the worker wrote no {kind.decode()} within {START_TIMEOUT_S:.0f} s")


def _heard(client: redis.Redis, session_id: str) -> tuple[bytes, list[tuple[int, int, str]]]:
    """The session's samples and segments."""
    entries: Any = client.xrange(KEYS.audio(session_id))
    messages = [msgpack.unpackb(fields[b"data"]) for _, fields in entries]
    samples = b"".join(message["data"] for message in messages if message["type"] == "audio")
    segments = [(it["index"], it["pos"], it["text"]) for it in messages if it["type"] == "segment"]
    return samples, segments


def _ms(seconds: list[float]) -> dict[str, float]:
    return {
        "p50": round(median(seconds) * 1000, 1),
        "lowest": round(min(seconds) * 1000, 1),
        "highest": round(max(seconds) * 1000, 1),
    }
