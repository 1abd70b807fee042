"""Installed packages by their metadata alone, and which versions of the speech model's packages go together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from worker.engine.checkpoint.files import ModelError

# The only versions that go together: qwen-tts pins transformers and imports torchaudio, and the newest torchaudio
# needs this torch.
NEEDED = {"torch": "==2.11.*", "torchaudio": "==2.11.*", "transformers": "==4.57.3", "qwen-tts": "==0.1.1"}
INSTALL = "pip install --constraint constraints.txt 'makima-tts[qwen]'"


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_problem() -> ModelError | None:
    """The packages that are missing or have a wrong version; None when all fit."""
    found = {name: installed(name) for name in NEEDED}
    missing = [name for name, version_here in found.items() if version_here is None]
    if missing:
        return ModelError(f"not installed: {', '.join(missing)}", INSTALL)
    wrong = [
        f"{name} {version_here} (needed: {NEEDED[name]})"
        for name, version_here in found.items()
        if version_here is not None and not fits(version_here, NEEDED[name])
    ]
    return ModelError(f"wrong version: {', '.join(wrong)}", INSTALL) if wrong else None


def fits(found: str, bounds: str) -> bool:
    """Whether a version meets bounds such as ">=8.1,<9"; False for a version that cannot be read."""
    try:
        return SpecifierSet(bounds).contains(Version(found), prereleases=True)
    except InvalidVersion:
        return False
