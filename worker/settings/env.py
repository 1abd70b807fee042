"""The sources of the settings: environment variables, `.env`, a password file; and the report of wrong settings."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import MakimaError

ENV_PREFIX = "MAKIMA_TTS_"
ENV_FILE = ".env"
MAX_PASSWORD_BYTES = 64 * 1024


class SettingsError(MakimaError):
    """A wrong setting; the message names it. From `Settings.load` it has one line for each wrong setting."""


def env_name(field: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + field.upper()


def explain(error: ValidationError) -> str:
    """One line for each wrong setting: its variable, its flag and its problem."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:
            field = str(problem["loc"][0])
            lines.append(f"{env_name(field)} (--{field.replace('_', '-')}): {reason}")
        else:
            lines.append(reason)
    return "\n".join(lines)


def is_readable(path: Path) -> bool:
    """Whether it is a file that this user may read. (Path.is_file raises in a folder that is closed to this user.)"""
    return os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113


def env_file_problem() -> SettingsError | None:
    """A .env that exists and may not be read: it is ignored."""
    if not os.path.isfile(ENV_FILE) or is_readable(Path(ENV_FILE)):  # noqa: PTH113
        return None
    return SettingsError(f"{ENV_FILE} may not be read by this user and is ignored", "make it readable, or remove it")


def password_in(file: Path) -> str:
    """The content of MAKIMA_TTS_REDIS_PASSWORD_FILE at this moment. Raises SettingsError."""
    name = env_name("redis_password_file")
    try:
        with file.open("rb") as opened:  # which may be a pipe, or never end
            password = opened.read(MAX_PASSWORD_BYTES + 1).decode().rstrip("\r\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(
            f"{name}: {file} cannot be read ({reason})", "name a file with the password alone that this user may read"
        ) from None
    if not 0 < len(password) <= MAX_PASSWORD_BYTES:
        problem = f"{name}: {file} is empty or has more than {MAX_PASSWORD_BYTES >> 10} KiB"
        raise SettingsError(problem, "write the password into it, alone")
    return password


def check_readable(name: str, path: Path) -> None:
    """Raises ValueError, for pydantic, where this user cannot read the PEM file of the setting `name`."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # no path may hold a null
        raise ValueError(f"{name}: {path} cannot be read ({reason}); name a PEM file that this user may read") from None
