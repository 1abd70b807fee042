"""Settings: flags, environment, .env and the password file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.strategies import FLOATS, edited, edits, mostly, numerals, several, strings
from tests.fuzz.target import Target, packed, require, unpacked
from tests.fuzz.targets.urls import URLS, urls
from worker.settings import ENV_FILE, Settings, SettingsError, env_name, unknown_keys, without_password
from worker.stream.transport.address import Address, AddressError

SECRET = "Hunter2"
VALUES: dict[str, tuple[str, ...]] = {
    "redis_url": URLS,
    "session_redis_url": URLS,
    "redis_password": (SECRET, ""),
    "redis_username": ("user",),
    "redis_password_file": ("password", "missing", ".", "a\0b", "x" * 5000),
    "redis_ca_file": ("password", "ca.pem"),
    "redis_cert_file": ("password", "a"),
    "redis_key_file": ("password", "b\0"),
    "prefix": ("makima", "{x}", ""),
    "engine": ("preview", " QWEN ", "x"),
    "model": ("a/b", "../..", ""),
    "device": ("cuda:0", "cuda:999", "cpu"),
    "dtype": ("float16", "int8"),
    "slots": ("8", "0", "1024"),
    "pace": ("1.5", "nan", "0"),
    "voices_dir": ("voices", "\0"),
    "default_voice": ("makima", "x" * 65),
    "lease_ms": ("2000", "99"),
    "max_attempts": ("3", "1e2"),
    "grace_s": ("20", "inf", "-0"),
    "max_text_chars": ("5000",),
    "health_port": ("0", "65536"),
    "health_host": ("::1", ""),
    "log_level": ("INFO",),
    "log_format": ("json",),
    "lease": ("1",),
    "max_text_char": ("1",),
}
LINES = (
    b"", b"#", b"=", b"A=1", b"export A='x", b'A="\\u0000"', b'A="${A}"', b"A=${MAKIMA_TTS_SLOTS:-1}", b"\0=1",
    b"a b=c", b"\xff=1", b"A",
)  # fmt: skip


def seeds() -> list[bytes]:
    """[flags, environment, .env, the password's file]."""
    flags = {"redis_url": URLS[0], "engine": "preview"}
    environment = {"slots": "4", "redis_password_file": "password", "log_level": "debug"}
    lines = b"MAKIMA_TTS_PACE=1.0\nMAKIMA_TTS_PREFIX='x'\nOTHER=1"
    return [
        packed([flags, environment, lines, b"secret\n"]),
        packed([{}, {}, b"", b""]),
        packed([{}, environment, b"MAKIMA_TTS_SLOT=1", b"\xff"]),
    ]


known = st.sampled_from([(name, value) for name, values in VALUES.items() for value in values])
odd = st.tuples(st.sampled_from(list(VALUES)), numerals | strings | urls)
fields = st.sampled_from([(name, value) for name in VALUES for value in (*FLOATS, None)])
flags = (known | odd | fields).map(lambda pair: pair if pair[0] in Settings.model_fields else ("slots", pair[1]))
printable = (known | odd).map(lambda pair: (pair[0], pair[1].encode("utf-8", "ignore").decode()))
variables = printable.map(lambda pair: (pair[0], pair[1].replace("\0", "")))
assignments = (known | odd).map(lambda pair: f"{env_name(pair[0])}={pair[1]}".encode("utf-8", "surrogatepass"))
lines = st.lists(assignments | st.sampled_from(LINES), max_size=4).map(b"\n".join)


def inputs() -> st.SearchStrategy[bytes]:
    few = [st.lists(one, max_size=3).map(dict) for one in (flags, variables)]
    passwords = st.sampled_from((b"secret\n", b"", b"\xff")) | edited(b"secret\n")
    return st.tuples(*few, mostly(lines, several(lines, edits)), passwords).map(packed)


def lay(data: bytes, folder: Path) -> None:
    _, _, lines, password = unpacked(data)
    (folder / ENV_FILE).write_bytes(lines)
    (folder / "password").write_bytes(password)


def parse(data: bytes, folder: Path) -> bool:
    flags, environment, _, _ = unpacked(data)
    with _environment({env_name(name): value for name, value in environment.items()}):
        settings = Settings.load(**flags)
        for error in unknown_keys():
            require("MAKIMA_TTS_" in error.problem, "a key that is not named")
    for url in (settings.redis_url, settings.session_url):
        shown = without_password(url)
        require(SECRET not in shown, "a URL shows its password")
        require(repr(shown) in repr(settings), "the settings show another URL")
    username, password = settings.redis_credentials()
    for url in (settings.redis_url, settings.session_url):
        Address(url, username, password)
    return True


@contextmanager
def _environment(extra: dict[str, Any]) -> Iterator[None]:
    os.environ.update(extra)
    try:
        yield
    finally:
        for name in extra:
            del os.environ[name]


SETTINGS = Target(
    "settings",
    parse,
    seeds,
    inputs,
    (SettingsError, AddressError),
    weight=2,
    lay=lay,
    message_chars=8000,
    allowed=("open",),
)
