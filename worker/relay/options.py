"""The relay's options, from the settings `MAKIMA_TTS_RELAY_*`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import JobError
from schemas.jobs import DEFAULT_TTL_MS, job_fields
from worker.settings import Settings, SettingsError, env_name

MAX_TOKEN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What all sockets of a relay share.

    job_options: fields of each job. ttl_ms: the time after which a job that has not begun expires. pace_ahead_s: audio
    that may be sent before it is played; 0 for no limit. token: None where none is needed. origins: "*" is any.
    """

    host: str
    port: int
    job_options: dict[str, Any]
    ttl_ms: int
    text_wait_s: float
    pace_ahead_s: float
    max_unfinished: int
    max_sockets: int
    own_connections: int
    token: str | None
    origins: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> RelayOptions:
        """Raises SettingsError for a token file that cannot be used."""
        file = settings.relay_token_file
        job_options = {name: getattr(settings, f"relay_{name}") for name in ("voice", "language", "ttl_ms", "ahead_ms")}
        try:
            job_fields("session", "A text.", **job_options)
        except JobError as error:
            raise SettingsError(f"{env_name(f'relay_{error.field}')}: {error.problem}", error.remedy) from None
        return cls(
            host=settings.relay_host,
            port=settings.relay_port,
            job_options=job_options,
            ttl_ms=settings.relay_ttl_ms or DEFAULT_TTL_MS,
            text_wait_s=settings.text_wait_s,
            pace_ahead_s=settings.relay_pace_ahead_ms / 1000,
            max_unfinished=settings.relay_max_unfinished,
            max_sockets=settings.relay_max_sockets,
            own_connections=settings.relay_own_connections,
            token=None if file is None else _token_in(file),
            origins=frozenset(filter(None, map(str.strip, settings.relay_origins.lower().split(",")))),
        )


def _token_in(file: Path) -> str:
    name = env_name("relay_token_file")
    try:
        with file.open("rb") as opened:
            token = opened.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:  # ValueError: not ASCII, or a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        raise SettingsError(f"{name}: {file} cannot be read ({reason})", "name a file with the token alone") from None
    if not 0 < len(token) <= MAX_TOKEN_BYTES or any(character.isspace() for character in token):
        problem = f"{name}: {file} is empty, has blanks or more than {MAX_TOKEN_BYTES:,} bytes"
        raise SettingsError(problem, "write the token into it, alone")
    return token
