"""Checks a card's reference recording: that it is there, is the one the card means, can be used, and how good it is.

The file is read once, so that the bytes that match the card's digest are those that are decoded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from worker.voices import advice
from worker.voices.card import Card
from worker.voices.recording import Recording, UnusableReference, decoded

__all__ = ["Recording", "UnusableReference", "checked", "recording_of"]

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".webm"}
MAX_REFERENCE_BYTES = 64 * 1024 * 1024


def checked(card: Card) -> Card:
    """The card with reference_problem and reference_warnings set."""
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    try:
        warnings = tuple(advice.warnings_of(card, recording_of(card)))
    except UnusableReference as error:
        problem = str(error)
    return card.model_copy(update={"reference_problem": problem, "reference_warnings": warnings})


def recording_of(card: Card) -> Recording:
    """Read and check the card's recording, whatever its reference_problem is. Raises UnusableReference."""
    file = card.reference_path
    if file is None:
        raise UnusableReference(
            "the card has no recording", "put one into the voice's folder and name it in `reference`"
        )
    try:
        data = _bytes_of(file)
    except OSError as error:
        raise UnusableReference(
            f"{card.reference} cannot be read ({error.strerror})", "check its permissions"
        ) from error
    if card.mode == "icl" and card.transcript is None:
        raise UnusableReference(
            'mode "icl" needs `transcript`', 'write down every word spoken, or set mode = "x_vector"'
        )
    _compare_digest(file, data, card.reference_sha256)
    return decoded(file, data)


def _bytes_of(file: Path) -> bytes:
    if file.is_dir():
        raise UnusableReference(f"{file.name} is a folder", "name the recording in it, such as takes/take1.wav")
    if not file.is_file():
        raise UnusableReference(
            f"{file.name} is missing{_others_beside(file)}",
            "put 5 to 15 s of clean speech there and run `makima-tts voices check`",
        )
    if file.stat().st_size > MAX_REFERENCE_BYTES:
        raise UnusableReference(f"{file.name} is larger than {MAX_REFERENCE_BYTES >> 20} MiB", "cut it to 5 to 15 s")
    return file.read_bytes()


def _compare_digest(file: Path, data: bytes, expected: str | None) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if expected is None:
        raise UnusableReference(
            "the card has no reference_sha256", f'when {file.name} is the right file, add reference_sha256 = "{digest}"'
        )
    if expected != digest:
        raise UnusableReference(
            f"{file.name} is not the recording of the card's reference_sha256",
            f"put that one back; if the new one is meant, "
            f'check transcript, licence and consent and set reference_sha256 = "{digest}"',
        )


def _others_beside(file: Path) -> str:
    """The recordings in the folder, for a name written differently."""
    try:
        names = sorted(entry.name for entry in file.parent.iterdir() if entry.suffix.lower() in SUFFIXES)
    except OSError:
        return ""
    return f" ({', '.join(repr(name[:60]) for name in names[:3])} is there)" if names else ""
