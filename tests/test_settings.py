"""Settings: where they come from, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.settings import Settings, SettingsError, unknown_keys, without_password


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for key in [key for key in os.environ if key.upper().startswith("MAKIMA_TTS_")]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)


def refusal(**flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**flags)
    return str(caught.value)


def test_nothing_has_to_be_set() -> None:
    settings = Settings.load()
    assert settings.redis_url == settings.session_url == "redis://127.0.0.1:6379/0"
    assert settings.redis_credentials() == (None, None)
    assert (settings.engine, settings.slots, settings.lease_ms) == ("auto", "auto", 2000)


def test_a_flag_beats_the_environment_which_beats_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MAKIMA_TTS_SLOTS=3\nMAKIMA_TTS_PREFIX=file\nMAKIMA_TTS_DEFAULT_VOICE=file\n")
    monkeypatch.setenv("MAKIMA_TTS_SLOTS", "4")
    monkeypatch.setenv("makima_tts_prefix", "environment")
    settings = Settings.load(slots=5)
    assert (settings.slots, settings.prefix, settings.default_voice) == (5, "environment", "file")


def test_a_flag_not_given_and_an_empty_variable_leave_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKIMA_TTS_MODEL", "")
    settings = Settings.load(slots=None, model=None)
    assert settings.slots == "auto"
    assert settings.model is None


def test_voices_are_looked_for_here_and_else_in_the_repository(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parent.parent
    assert Settings.load().voices_dir == repository / "voices"
    (tmp_path / "voices").mkdir()
    assert Settings.load().voices_dir.resolve() == (tmp_path / "voices").resolve()


def test_the_cache_is_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert Settings.load().cache_dir == tmp_path / ".cache" / "makima-tts"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert Settings.load().cache_dir == tmp_path / "caches" / "makima-tts"
    assert Settings.load(cache_dir="here").cache_dir == Path("here")


def test_words_may_be_written_in_any_case() -> None:
    settings = Settings.load(engine="Preview", log_level="DEBUG", log_format="JSON", device="CUDA:1")
    assert (settings.engine, settings.log_level) == ("preview", "debug")
    assert (settings.log_format, settings.device) == ("json", "cuda:1")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://h:6380/2",
        "unix:///run/redis.sock",
        "redis+sentinel://a:26379,b:26379/mymaster/0",
        "redis+cluster://a:7000,b:7000",
        "redis://[::1]:6379/0",
    ],
)
def test_every_kind_of_redis_url_is_accepted(url: str) -> None:
    assert Settings.load(redis_url=url, session_redis_url=url).session_url == url


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("localhost:6379", "use one of redis://"),
        ("http://h", "use one of redis://"),
        ("", "use one of redis://"),
        ("redis://", "names no host"),
        ("redis://user@/0", "names no host"),
        ("unix://", "names no socket"),
        ("redis+sentinel://a:26379", "names the service"),
        ("redis://[::1", "looks like redis://"),
        ("redis://h/voice", "looks like redis://"),
        ("redis://h?ssl_cert_reqs=none", "db, username, password"),
    ],
)
def test_a_wrong_redis_url_is_answered_with_a_right_one(url: str, advice: str) -> None:
    message = refusal(redis_url=url)
    assert message.startswith("MAKIMA_TTS_REDIS_URL (--redis-url): ")
    assert advice in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slots", 0),
        ("slots", 1025),
        ("slots", "-1"),
        ("slots", "8.0"),
        ("slots", "٨"),
        ("slots", "9" * 5000),
        ("slots", "many"),
        ("pace", 0),
        ("pace", float("nan")),
        ("pace", float("inf")),
        ("lease_ms", 10),
        ("max_attempts", 0),
        ("grace_s", -1),
        ("max_text_chars", 0),
        ("text_wait_s", 0),
        ("ahead_ms", 2_999),
        ("ahead_ms", 600_001),
        ("hints", "perhaps"),
        ("health_port", 65_536),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("engine", "espeak"),
        ("device", "gpu"),
        ("dtype", "int8"),
        ("prefix", "a{b}"),
        ("prefix", ""),
        ("default_voice", ""),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: object) -> None:
    message = refusal(**{field: value})
    assert f"MAKIMA_TTS_{field.upper()} (--{field.replace('_', '-')}): " in message


def test_every_wrong_setting_has_its_own_line() -> None:
    lines = refusal(slots=0, log_level="loud").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["MAKIMA_TTS_SLOTS", "MAKIMA_TTS_LOG_LEVEL"]


def test_an_option_that_would_be_ignored_is_refused() -> None:
    assert "preview engine only" in refusal(engine="qwen", pace=1.0)
    assert "rediss://" in refusal(redis_ca_file="ca.pem")
    assert "set both or none" in refusal(redis_url="rediss://h", redis_cert_file="cert.pem")
    Path("ca.pem").touch()
    assert Settings.load(session_redis_url="rediss://h", redis_ca_file="ca.pem").redis_ca_file == Path("ca.pem")


@pytest.mark.parametrize("field", ["redis_ca_file", "redis_cert_file", "redis_key_file"])
@pytest.mark.parametrize(
    ("path", "reason"), [("absent.pem", "No such file or directory"), (".", "Is a directory"), ("a\0b", "null")]
)
def test_a_tls_file_that_cannot_be_read_is_named_with_its_setting(field: str, path: str, reason: str) -> None:
    for name in ("ca", "cert", "key"):
        Path(f"{name}.pem").touch()
    files = {"redis_ca_file": "ca.pem", "redis_cert_file": "cert.pem", "redis_key_file": "key.pem"}
    message = refusal(redis_url="rediss://h", **(files | {field: path}))
    assert message.startswith(f"MAKIMA_TTS_{field.upper()}: {path} cannot be read")
    assert reason in message


def test_the_password_is_given_once() -> None:
    assert "keep one" in refusal(redis_password="a", redis_password_file="b")
    assert "without a password" in refusal(redis_username="worker")
    for url in ("redis://u:secret@h", "redis://:secret@h", "redis://h?password=secret"):
        message = refusal(redis_url=url, redis_password="other")
        assert "take it out of the URL" in message
        assert "secret" not in message


def test_the_password_comes_from_the_setting_or_its_file(tmp_path: Path) -> None:
    assert Settings.load(redis_username="worker", redis_password="a b").redis_credentials() == (
        "worker",
        "a b",
    )
    file = tmp_path / "password"
    settings = Settings.load(redis_username="worker", redis_password_file=file)
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.redis_credentials()
    file.write_text("first\n")
    assert settings.redis_credentials() == ("worker", "first")
    file.write_text("second\r\n")
    assert settings.redis_credentials() == ("worker", "second")
    file.write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        settings.redis_credentials()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        settings.redis_credentials()


def test_no_password_is_ever_shown() -> None:
    settings = Settings.load(
        redis_url="rediss://user:hunter2@h:1/0", session_redis_url="redis+cluster://user:hunter2@a:1,b:2"
    )
    shown = repr(settings) + str(settings) + f"{Settings.load(redis_password='hunter2')!r}"
    assert "hunter2" not in shown
    assert "rediss://***@h:1/0" in shown
    with pytest.raises(ValidationError) as caught:
        Settings(redis_url="http://user:hunter2@h")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:p@h", "redis://***@h"),
        ("redis://u:p@ss/w@h/0", "redis://***@h/0"),
        ("redis://h?password=p&db=1", "redis://h?password=***&db=1"),
        ("no url at all", "no url at all"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_unknown_keys_are_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MAKIMA_TTS_LEASE=1\nMAKIMA_TTS_SLOTS=2\nOTHER=3\n")
    told = unknown_keys({"MAKIMA_TTS_SLOT": "1", "MAKIMA_TTS_ZZZ": "1", "PATH": "/"}, file)
    assert [error.problem.split()[0] for error in told] == ["MAKIMA_TTS_SLOT", "MAKIMA_TTS_ZZZ", "MAKIMA_TTS_LEASE"]
    assert [error.remedy for error in told] == [
        "did you mean MAKIMA_TTS_SLOTS?",
        "docs/operations.md lists the settings",
        "did you mean MAKIMA_TTS_LEASE_MS?",
    ]
    assert str(file) in told[2].problem


def test_unknown_keys_do_not_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKIMA_TTS_NONSENSE", "1")
    Path(".env").write_text("MAKIMA_TTS_MORE_NONSENSE=1\nOTHER=2\n")
    assert Settings.load().slots == "auto"
    assert len(unknown_keys()) == 2


def test_an_unreadable_env_file_is_named() -> None:
    Path(".env").write_bytes(b"MAKIMA_TTS_PREFIX=\xff\xfe\n")
    assert refusal().startswith(".env cannot be read")


def test_mps_is_refused_with_the_other_settings() -> None:
    assert "MAKIMA_TTS_DEVICE (--device): Qwen3-TTS cannot compute on Apple's GPU (mps)" in refusal(device="mps")
