"""Whether a card's reference recording can be used, and if not, what to do about it.

soundfile is loaded only when there is a recording to open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from worker.voices.card import Card

if TYPE_CHECKING:
    import soundfile

MIN_S = 3.0
RECOMMENDED_S = (5.0, 15.0)
MAX_S = 60.0
MAX_REFERENCE_BYTES = 64 * 1024 * 1024
MIN_RATE_HZ = 16_000
MIN_PEAK = 0.01  # -40 dBFS: below it the recording is taken for an empty one
FULL_SCALE = 0.999


def checked(card: Card) -> Card:
    """Give the card with what was found out about its recording: reference_problem and reference_warnings."""
    warnings: tuple[str, ...] = ()
    try:
        problem = _problem_of_card(card)
        if problem is None and card.reference_path is not None:
            problem, warnings = _examined(card.reference_path)
    except OSError as error:
        problem = f"{card.reference} cannot be read ({error.strerror}); check its permissions"
    return card.model_copy(update={"reference_problem": problem, "reference_warnings": warnings})


def _problem_of_card(card: Card) -> str | None:
    file = card.reference_path
    if file is None:
        return "no reference recording; put one into the voice's folder and name it in `reference`"
    if not file.is_file():
        return f"{file.name} is missing; put 5 to 15 s of clean speech there and run `makima-tts voices check`"
    if file.stat().st_size > MAX_REFERENCE_BYTES:
        return f"{file.name} is larger than {MAX_REFERENCE_BYTES >> 20} MiB; cut it to 5 to 15 s"
    if card.mode == "icl" and card.transcript is None:
        return 'mode "icl" needs `transcript`: write down every word spoken, or set mode = "x_vector"'
    return _problem_of_digest(file, card.reference_sha256)


def _problem_of_digest(file: Path, expected: str | None) -> str | None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if expected is None:
        return f'no reference_sha256; once {file.name} is the right one, add reference_sha256 = "{digest}"'
    if expected != digest:
        return (
            f"{file.name} is not the recording the card was made for; put that one back, or, if the new one "
            f'is meant, check transcript, licence and consent and set reference_sha256 = "{digest}"'
        )
    return None


def _examined(file: Path) -> tuple[str | None, tuple[str, ...]]:
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            seconds = sound.frames / sound.samplerate
            if not MIN_S <= seconds <= MAX_S:
                return f"{file.name} lasts {seconds:.1f} s; use 5 to 15 s (at least {MIN_S:.0f})", ()
            peak = _peak(sound)
            if not peak >= MIN_PEAK:
                return f"{file.name} is silent; record it again", ()
            return None, tuple(_warnings(sound, seconds, peak))
    except soundfile.SoundFileError as error:
        return f"{file.name} cannot be decoded ({error}); save it as 24 kHz mono 16-bit WAV", ()


def _peak(sound: soundfile.SoundFile) -> float:
    return max((float(abs(block).max()) for block in sound.blocks(65536, dtype="float32")), default=0.0)


def _warnings(sound: soundfile.SoundFile, seconds: float, peak: float) -> Iterator[str]:
    shortest, longest = RECOMMENDED_S
    if not shortest <= seconds <= longest:
        yield f"the recording lasts {seconds:.1f} s; {shortest:.0f} to {longest:.0f} s give the best likeness"
    if sound.channels != 1:
        yield f"the recording has {sound.channels} channels, which will be mixed; one microphone is better"
    if sound.samplerate < MIN_RATE_HZ:
        yield f"the recording's rate is {sound.samplerate} Hz; 24000 or more keeps the voice's brightness"
    if peak >= FULL_SCALE:
        yield "the recording reaches full scale and may be clipped; record it more quietly"
