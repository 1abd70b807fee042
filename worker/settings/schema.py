"""The settings: flags override environment variables (`MAKIMA_TTS_*`), which override `.env` in the working directory.

`Settings(**flags)` raises pydantic's ValidationError. `Settings.load(**flags)` raises SettingsError with one line for
each wrong setting. Neither ever contains a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.jobs import MAX_AHEAD_MS, MAX_TTL_MS, MIN_AHEAD_MS
from worker.settings.env import (
    ENV_FILE,
    ENV_PREFIX,
    SettingsError,
    check_readable,
    env_file_problem,
    env_name,
    explain,
    is_readable,
    password_in,
)  # fmt: skip
from worker.settings.redis_url import AddressError, RedisUrl, without_password

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")
MAX_SLOTS = 1024
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,2})?")


def default_voices_dir() -> Path:
    """./voices where it exists, else the repository's."""
    here = Path("voices")
    is_there = os.path.isdir(here)  # noqa: PTH112 (Path.is_dir raises in a folder that is closed to this user)
    return here if is_there else Path(__file__).resolve().parents[2] / "voices"


def default_cache_dir() -> Path | None:
    """makima-tts in $XDG_CACHE_HOME, else in ~/.cache; None for a user without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # the XDG specification has relative paths ignored
        return Path(base) / "makima-tts"
    try:
        return Path.home() / ".cache" / "makima-tts"
    except RuntimeError:
        return None


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _redis_url(url: str) -> str:
    try:
        RedisUrl.parse(url)
    except AddressError as error:
        raise ValueError(str(error)) from None  # which pydantic names with the setting
    return url


def _key_prefix(prefix: str) -> str:
    if not _NAME.fullmatch(prefix):
        raise ValueError("use 1 to 64 of A-Z a-z 0-9 . _ : - (braces would move the keys in a Cluster)")
    return prefix


def _device(device: str) -> str:
    if device == "mps":
        raise ValueError("Qwen3-TTS cannot compute on Apple's GPU (mps); use cpu, or auto")
    if not _DEVICE.fullmatch(device):
        raise ValueError("use auto, cpu, cuda or cuda:N, for example cuda:0")
    return device


def _slots(value: Any) -> int | str:
    text = str(value).strip().lower()
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if text != "auto" and not (is_number and 1 <= int(text) <= MAX_SLOTS):
        raise ValueError(f"use auto, or a number from 1 to {MAX_SLOTS}")
    return text if text == "auto" else int(text)


def _ahead(ahead_ms: int | None) -> int | None:
    if ahead_ms and not MIN_AHEAD_MS <= ahead_ms <= MAX_AHEAD_MS:
        raise ValueError(f"use {MIN_AHEAD_MS} to {MAX_AHEAD_MS} ms, or 0 for no limit")
    return ahead_ms


Dtype = Literal["auto", "bfloat16", "float16", "float32", "float64"]
Url = Annotated[str, AfterValidator(_redis_url)]


class Settings(BaseSettings):
    """The settings of the worker and the commands. Every field is also `MAKIMA_TTS_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",  # other programs' .env keys; ours are checked by unknown_keys
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    redis_url: Url = "redis://127.0.0.1:6379/0"
    session_redis_url: Url | None = None
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_password_file: Path | None = None
    redis_ca_file: Path | None = None
    redis_cert_file: Path | None = None
    redis_key_file: Path | None = None
    prefix: Annotated[str, AfterValidator(_key_prefix)] = "makima"

    engine: Annotated[Literal["auto", "qwen", "preview"], BeforeValidator(_lower)] = "auto"
    model: str | None = None
    device: Annotated[str, BeforeValidator(_lower), AfterValidator(_device)] = "auto"
    dtype: Annotated[Dtype, BeforeValidator(_lower)] = "auto"
    slots: Annotated[int | Literal["auto"], BeforeValidator(_slots)] = "auto"
    preview_voices: Annotated[Literal["natural", "espeak-ng"], BeforeValidator(_lower)] = "natural"
    pace: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    voices_dir: Path = Field(default_factory=default_voices_dir)
    cache_dir: Path | None = Field(default_factory=default_cache_dir)
    default_voice: str = Field(default="makima", min_length=1, max_length=64)

    lease_ms: int = Field(default=2000, ge=100, le=600_000)
    max_attempts: int = Field(default=3, ge=1, le=100)
    grace_s: float = Field(default=20.0, ge=0, le=3600, allow_inf_nan=False)
    max_text_chars: int = Field(default=5000, ge=1, le=100_000)
    text_wait_s: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)
    ahead_ms: Annotated[int, AfterValidator(_ahead)] = 15_000
    hints: bool = True

    relay_host: str = Field(default="127.0.0.1", min_length=1)
    relay_port: int = Field(default=8080, ge=0, le=65535)
    relay_voice: str | None = Field(default=None, max_length=64)
    relay_language: str | None = None
    relay_ttl_ms: int | None = Field(default=None, ge=1, le=MAX_TTL_MS)
    relay_ahead_ms: Annotated[int | None, AfterValidator(_ahead)] = None
    relay_pace_ahead_ms: int = Field(default=10_000, ge=0, le=3_600_000)
    relay_max_unfinished: int = Field(default=10, ge=1, le=1000)
    relay_max_sockets: int = Field(default=10_000, ge=1, le=1_000_000)
    relay_token_file: Path | None = None
    relay_origins: str = ""
    relay_own_connections: int = Field(default=64, ge=0, le=10_000)

    health_port: int | None = Field(default=None, ge=0, le=65535)
    health_host: str = Field(default="127.0.0.1", min_length=1)
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Read the settings; a flag that is None counts as not given. Raises SettingsError.

        A .env file that cannot be opened is ignored; `unknown_keys` reports it.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            return cls(_env_file=ENV_FILE if is_readable(Path(ENV_FILE)) else None, **given)
        except ValidationError as error:
            raise SettingsError(explain(error)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{ENV_FILE} cannot be read ({error})", "correct or remove it") from None

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.redis_password is not None and self.redis_password_file is not None:
            raise ValueError(
                f"{env_name('redis_password')} and {env_name('redis_password_file')} are both set; keep one"
            )
        if self.redis_username is not None and self.redis_password is None and self.redis_password_file is None:
            raise ValueError(
                f"{env_name('redis_username')} is set without a password; "
                f"set {env_name('redis_password_file')} or {env_name('redis_password')} too"
            )
        self._credentials_come_once()
        self._tls_files_fit()
        if self.pace is not None and self.engine == "qwen":
            raise ValueError(f"{env_name('pace')} limits the preview engine only; leave it out with the qwen engine")
        return self

    def _credentials_come_once(self) -> None:
        named = [
            env_name(field)
            for field in ("redis_username", "redis_password", "redis_password_file")
            if getattr(self, field) is not None
        ]
        for field, url in self._urls.items():
            if named and (url.username is not None or url.password is not None):
                raise ValueError(
                    f"{env_name(field)} holds a user or password and {named[0]} is set too; take it out of the URL"
                )

    def _tls_files_fit(self) -> None:
        if (self.redis_cert_file is None) != (self.redis_key_file is None):
            raise ValueError(
                f"{env_name('redis_cert_file')} and {env_name('redis_key_file')} belong together; set both or none"
            )
        tls_is_used = any(url.is_tls for url in self._urls.values())
        for field in ("redis_ca_file", "redis_cert_file"):
            if getattr(self, field) is not None and not tls_is_used:
                raise ValueError(f"{env_name(field)} is set but no URL uses TLS; write rediss:// for redis://")
        for field in ("redis_ca_file", "redis_cert_file", "redis_key_file"):
            if (path := getattr(self, field)) is not None:
                check_readable(env_name(field), path)

    @property
    def _urls(self) -> dict[str, RedisUrl]:
        urls = {"redis_url": self.redis_url, "session_redis_url": self.session_redis_url}
        return {field: RedisUrl.parse(url) for field, url in urls.items() if url is not None}

    @property
    def session_url(self) -> str:
        """URL of the session plane's Redis: its own, or the job plane's."""
        return self.session_redis_url or self.redis_url

    def redis_credentials(self) -> tuple[str | None, str | None]:
        """User name and password for both planes; (None, None) where the URL has them, or none are needed.

        Reads the password's file at every call, so that a changed password is used. Raises SettingsError.
        """
        if self.redis_password is not None:
            return self.redis_username, self.redis_password.get_secret_value()
        if self.redis_password_file is None:
            return self.redis_username, None
        return self.redis_username, password_in(self.redis_password_file)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in vars(self).items():
            yield name, without_password(value) if name.endswith("redis_url") and value else value


def unknown_keys(environ: dict[str, str] | None = None, env_file: Path | None = None) -> list[SettingsError]:
    """Errors to report, not to raise: one for each MAKIMA_TTS_* key of the environment or .env that is not a setting.

    The first is for a .env that cannot be opened.
    """
    file = env_file or Path(ENV_FILE)
    sources: dict[str, Iterable[str]] = {
        "the environment": environ if environ is not None else dict(os.environ),
        str(file): dotenv_values(file) if is_readable(file) else {},
    }
    known = [env_name(field) for field in Settings.model_fields]
    unreadable = env_file_problem()
    return ([unreadable] if unreadable else []) + [
        _unknown(key, source, known)
        for source, keys in sources.items()
        for key in sorted(key.upper() for key in keys)
        if key.startswith(ENV_PREFIX) and key not in known
    ]


def _unknown(key: str, source: str, known: list[str]) -> SettingsError:
    names = [name.removeprefix(ENV_PREFIX) for name in known]
    nearest = get_close_matches(key.removeprefix(ENV_PREFIX), names, n=1)
    remedy = "docs/operations.md lists the settings"
    if nearest:
        remedy = f"did you mean {ENV_PREFIX}{nearest[0]}?"
    return SettingsError(f"{key} in {source} is not a setting and is ignored", remedy)
