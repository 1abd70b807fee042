"""Checks a card's reference recording: its digest, format, length, level and share of silence.

The file is read once, so that the bytes that match the card's digest are those that are decoded. soundfile is loaded
when the first recording is opened.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MakimaError
from worker.voices.card import Card

if TYPE_CHECKING:
    from soundfile import SoundFile

MIN_S = 3.0
RECOMMENDED_S = (5.0, 15.0)
MAX_S = 60.0
MAX_REFERENCE_BYTES = 64 * 1024 * 1024
MAX_CHANNELS = 32  # a block of 1,024 channels would take 256 MiB
RATES_HZ = (8_000, 384_000)  # below it speech is not intelligible; no sound card records above it
BRIGHT_RATE_HZ = 16_000
MAX_PEAK = 2.0  # a float file above it was not scaled to -1..1

FULL_SCALE = 0.9999
CLIPPED_RUN = 3  # one sample at full scale is a good level, three in a row are clipping

# libsndfile's other formats (MIDI dumps, Amiga, samplers) hold no voice recordings, and their readers are little
# tested: one of them prints to stdout.
_CONTAINER = re.compile(rb"RIFF|RF64|riff|FORM....AIF|caff|\.snd|fLaC|OggS|ID3|\xff[\xe0-\xff]", re.DOTALL)

WINDOW_S = 0.02
MIN_LOUDNESS = 0.005  # -46 dBFS: a recording whose loudest window is below it counts as empty
SILENT_BELOW = 10 ** (-35 / 20)  # of the loudest window; soft consonants are 20 to 30 dB below vowels
MIN_SOUND_S = 1.0
MAX_SILENT_SHARE = 0.6

WIDE_A_SECOND = 5.5  # kana, ideographs, syllables of Hangul, digits: at an ordinary pace
LETTERS_A_SECOND = 14.0
PACES = (0.4, 3.0)  # of the ordinary time; outside of it the transcript has too many or too few words


class UnusableReference(MakimaError):
    """A voice's recording that cannot be used. The problem names the file."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording. audio: float32 [n], the mean of its channels. sound_s: length without silence."""

    audio: NDArray[np.float32]
    rate_hz: int
    n_channels: int
    is_clipped: bool
    sound_s: float

    @property
    def duration_s(self) -> float:
        return self.audio.size / self.rate_hz


def checked(card: Card) -> Card:
    """The card with reference_problem and reference_warnings set."""
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    try:
        warnings = tuple(_warnings(card, recording_of(card)))
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
    return _decoded(file, data)


def _bytes_of(file: Path) -> bytes:
    if not file.is_file():
        raise UnusableReference(
            f"{file.name} is missing", "put 5 to 15 s of clean speech there and run `makima-tts voices check`"
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


def _decoded(file: Path, data: bytes) -> Recording:
    import soundfile

    remedy = "save it as 24 kHz mono 16-bit WAV"
    if _is_text(data):
        raise UnusableReference(f"{file.name} holds text and cannot be decoded as a recording", remedy)
    if not _CONTAINER.match(data):
        raise UnusableReference(f"{file.name} cannot be decoded (no WAV, AIFF, CAF, AU, FLAC, Ogg or MP3)", remedy)
    try:
        with soundfile.SoundFile(_Seekable(data)) as sound:
            rate_hz = sound.samplerate
            if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
                raise UnusableReference(f"{file.name} has a rate of {rate_hz} Hz", "record it at 24000 or more")
            n_channels = sound.channels
            if n_channels > MAX_CHANNELS:
                raise UnusableReference(f"{file.name} has {n_channels} channels", remedy)
            _require_length(file, sound.frames / rate_hz)  # before an hour of it is decoded
            audio, is_clipped = _mixed(_blocks(sound))
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error))
        raise UnusableReference(f"{file.name} cannot be decoded ({reason.rstrip('.')})", remedy) from error
    _require_length(file, audio.size / rate_hz)
    _require_level(file, audio)
    loudness = _loudness(audio, rate_hz)
    if not loudness.max() >= MIN_LOUDNESS:
        mixed = " once its channels are mixed" if n_channels > 1 else ""
        raise UnusableReference(f"{file.name} is silent{mixed}", "record it again")
    n_loud = int((loudness >= loudness.max() * SILENT_BELOW).sum())
    sound_s = n_loud * _window(rate_hz) / rate_hz
    if sound_s < MIN_SOUND_S:
        raise UnusableReference(f"{file.name} has only {sound_s:.1f} s of sound in it", "use 5 to 15 s of speech")
    return Recording(audio, rate_hz, n_channels, is_clipped, sound_s)


class _Seekable(io.BytesIO):
    """libsndfile calls `seek` with positions from a damaged header, and an exception cannot pass through it."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _is_text(data: bytes) -> bool:
    head = data[:4096]  # may end within a character, which decodes to \ufffd
    return bool(head) and b"\0" not in head and "\ufffd" not in head.decode("utf-8", "replace").rstrip("\ufffd")


def _require_length(file: Path, duration_s: float) -> None:
    if not MIN_S <= duration_s <= MAX_S:
        raise UnusableReference(f"{file.name} lasts {duration_s:.1f} s", f"use 5 to 15 s (at least {MIN_S:.0f})")


def _require_level(file: Path, audio: NDArray[np.float32]) -> None:
    peak = np.abs(audio).max()
    if not np.isfinite(peak):
        raise UnusableReference(f"{file.name} has samples that are not numbers", "export it again as 16-bit WAV")
    if peak > MAX_PEAK:
        raise UnusableReference(
            f"{file.name} has samples of {peak:.0f} where full scale is 1", "export it again as 16-bit WAV"
        )


def _blocks(sound: SoundFile) -> Iterator[NDArray[np.float32]]:
    """Blocks of float32 [n, channels]. For a truncated file soundfile's own `blocks` would return stale memory."""
    n_left = sound.frames
    while n_left > 0 and len(block := sound.read(min(n_left, 65536), dtype="float32", always_2d=True)):
        yield block
        n_left -= len(block)


def _mixed(blocks: Iterator[NDArray[np.float32]]) -> tuple[NDArray[np.float32], bool]:
    """The mean of the channels, and whether any channel is clipped. blocks: float32 [n, channels]."""
    audio, is_clipped = [np.zeros(0, dtype=np.float32)], False
    for block in blocks:
        full = np.abs(block) >= FULL_SCALE
        run = full[: 1 - CLIPPED_RUN]
        for ahead in range(1, CLIPPED_RUN):
            run = run & full[ahead : ahead + run.shape[0]]
        is_clipped = is_clipped or bool(run.any())
        with np.errstate(invalid="ignore", over="ignore"):  # _require_level reports what is not finite
            audio.append(block.mean(axis=1))
    return np.concatenate(audio), is_clipped


def _loudness(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The standard deviation of every whole window, so that a constant offset counts as silence. audio: float32 [n]."""
    window = _window(rate_hz)
    loudness: NDArray[np.float32] = audio[: audio.size // window * window].reshape(-1, window).std(axis=1)
    return loudness


def _window(rate_hz: int) -> int:
    """Whole samples of a window."""
    return int(WINDOW_S * rate_hz)


def _warnings(card: Card, recording: Recording) -> Iterator[str]:
    shortest_s, longest_s = RECOMMENDED_S
    duration_s = recording.duration_s
    if not shortest_s <= duration_s <= longest_s:
        yield f"the recording lasts {duration_s:.1f} s; {shortest_s:.0f} to {longest_s:.0f} s give the best likeness"
    if recording.n_channels != 1:
        yield f"the recording has {recording.n_channels} channels, which will be mixed; one microphone is better"
    if recording.rate_hz < BRIGHT_RATE_HZ:
        yield f"the recording's rate is {recording.rate_hz} Hz; 24000 or more keeps the voice's brightness"
    if recording.is_clipped:
        yield "the recording stays at full scale and is clipped there; record it more quietly"
    silent_share = 1 - recording.sound_s / duration_s
    if silent_share > MAX_SILENT_SHARE:
        yield f"{silent_share:.0%} of the recording is silence; cut the pauses out"
    if card.mode == "icl" and card.transcript is not None:
        yield from _warnings_of_pace(card.transcript, recording.sound_s)


def _warnings_of_pace(transcript: str, sound_s: float) -> Iterator[str]:
    spoken = [char for char in transcript if char.isalnum()]
    n_wide = sum(char >= "\u1100" or char.isdigit() for char in spoken)
    ordinary_s = n_wide / WIDE_A_SECOND + (len(spoken) - n_wide) / LETTERS_A_SECOND
    if sound_s < ordinary_s * PACES[0]:
        yield f"the transcript is too long for {sound_s:.1f} s of speech; write down only what the recording says"
    if sound_s > ordinary_s * PACES[1]:
        yield f"the transcript is too short for {sound_s:.1f} s of speech; write down every word the recording says"
