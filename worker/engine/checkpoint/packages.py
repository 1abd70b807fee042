"""The packages of the speech model, by their metadata alone: which versions go together, and what is wrong here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from worker.engine.checkpoint.files import ModelError

# Beginnings of the only versions that go together: qwen-tts pins transformers and imports torchaudio, and the newest
# torchaudio there is needs this torch.
NEEDED = {"torch": "2.11.", "torchaudio": "2.11.", "transformers": "4.57.3", "qwen-tts": "0.1.1"}
INSTALL = "pip install --constraint constraints.txt 'makima-tts[qwen]'"


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_problem() -> ModelError | None:
    """Which packages are missing or of a wrong version; None when all is well."""
    found = {name: installed(name) for name in NEEDED}
    missing = [name for name, version_here in found.items() if version_here is None]
    if missing:
        return ModelError(f"not installed: {', '.join(missing)}", INSTALL)
    wrong = [
        f"{name} {version_here} (needed: {NEEDED[name]}{'x' if NEEDED[name].endswith('.') else ''})"
        for name, version_here in found.items()
        if version_here is not None and not fits(version_here, NEEDED[name])
    ]
    return ModelError(f"wrong version: {', '.join(wrong)}", INSTALL) if wrong else None


def fits(found: str, needed: str) -> bool:
    """Whether "2.11.0+cu130" is one of "2.11.", or "4.57.3" is "4.57.3"."""
    public = found.partition("+")[0]
    return public.startswith(needed) if needed.endswith(".") else public == needed
