"""Decodes a recording and measures it: level, offset, clipping, the agreement of its channels, where sound is in it.

soundfile is loaded when the first recording is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MakimaError
from worker.voices import container

if TYPE_CHECKING:
    from soundfile import SoundFile

MIN_S = 3.0
MAX_S = 60.0
MAX_CHANNELS = 32  # a block of 1,024 channels would take 256 MiB
RATES_HZ = (8_000, 384_000)  # below it speech is not intelligible; no sound card records above it
MAX_PEAK = 2.0  # a float file above it was not scaled to -1..1

FULL_SCALE = 0.9999
CLIPPED_RUN = 3  # one sample at full scale is a good level, three in a row are clipping
FLAT_TOPS = 5  # runs at the very same peak below full scale: clipped, then made quieter

WINDOW_S = 0.02
MIN_PEAK = 2.0**-14  # two steps of 16 bits: below it there is no sound
MIN_LOUDNESS = 0.005  # -46 dBFS: a recording whose loudest window is below it is too quiet
SILENT_BELOW = 10 ** (-35 / 20)  # of the loudest window; soft consonants are 20 to 30 dB below vowels
NOISE_BELOW = 0.2  # of the loudest window: the noise between words may be that loud
JOINED_WINDOWS = 8  # shorter gaps are a word's own
MIN_SOUND_S = 1.0


class UnusableReference(MakimaError):
    """A voice's recording that cannot be used. The problem names the file."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Where a recording is not silent, in seconds. total_s: without pauses."""

    total_s: float
    start_s: float
    end_s: float
    longest_pause_s: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording. audio: float32 [n], the mean of its channels. peak: without the offset, full scale is 1.

    agreement: the mean correlation of its channels that are not silent, 1 for a single one.
    """

    audio: NDArray[np.float32]
    rate_hz: int
    n_channels: int
    is_clipped: bool
    peak: float
    offset: float
    agreement: float
    sound: Sound

    @property
    def duration_s(self) -> float:
        return self.audio.size / self.rate_hz


def decoded(file: Path, data: bytes) -> Recording:
    """Decode a file's bytes, whatever its name. Raises UnusableReference."""
    import soundfile

    name = file.name
    remedy = "save it as 24 kHz mono 16-bit WAV, as `ffmpeg -i FILE -ac 1 -ar 24000 -c:a pcm_s16le reference.wav` does"
    form = container.unsupported(data)
    if form is not None:
        raise UnusableReference(f"{name} is {form} and cannot be decoded", remedy)
    if _is_text(data):
        raise UnusableReference(f"{name} holds text and cannot be decoded as a recording", remedy)
    if not container.is_decodable(data):
        raise UnusableReference(f"{name} cannot be decoded (no WAV, AIFF, CAF, AU, FLAC, Ogg or MP3)", remedy)
    try:
        with soundfile.SoundFile(_Seekable(container.mended(data))) as sound:
            rate_hz = sound.samplerate
            if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
                raise UnusableReference(f"{name} has a rate of {rate_hz} Hz", "record it at 24000 or more")
            if sound.channels > MAX_CHANNELS:
                raise UnusableReference(f"{name} has {sound.channels} channels", remedy)
            _require_length(name, sound.frames / rate_hz)  # before an hour of it is decoded
            channels = _Channels(sound.channels)
            for block in _blocks(sound):
                channels.add(block)
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error))
        raise UnusableReference(f"{name} cannot be decoded ({reason.rstrip('.')})", remedy) from error
    return _measured(name, channels, rate_hz)


def _measured(name: str, channels: _Channels, rate_hz: int) -> Recording:
    audio = channels.mixed()
    _require_length(name, audio.size / rate_hz)
    _require_scale(name, audio)
    offset = float(audio.mean(dtype=np.float64))
    peak = float(np.abs(audio - offset).max())
    loudness = _loudness(audio, rate_hz)
    mixed = " once its channels are mixed" if channels.n > 1 else ""
    if peak < MIN_PEAK:
        raise UnusableReference(f"{name} is silent{mixed}", "record it again")
    if not loudness.max() >= MIN_LOUDNESS:
        raise UnusableReference(
            f"{name} is too quiet{mixed}: its peak is {decibels(peak):.0f} dBFS",
            "record it again, closer to the microphone or louder (peak between -12 and -3 dBFS)",
        )
    sound = _sound_in(loudness, rate_hz)
    if sound.total_s < MIN_SOUND_S:
        raise UnusableReference(f"{name} has only {sound.total_s:.1f} s of sound in it", "use 5 to 15 s of speech")
    is_clipped = channels.is_clipped or _has_flat_tops(audio)
    return Recording(audio, rate_hz, channels.n, is_clipped, peak, offset, channels.agreement(), sound)


class _Seekable(io.BytesIO):
    """libsndfile calls `seek` with positions from a damaged header, and an exception cannot pass through it."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _Channels:
    """Mixes blocks of float32 [n, channels], and keeps of the channels what the mix no longer has."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.is_clipped = False
        self._mixed = [np.zeros(0, dtype=np.float32)]
        self._sums = np.zeros(n)
        self._squares = np.zeros(n)
        self._square_of_sum = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        full = np.abs(block) >= FULL_SCALE
        run = full[: 1 - CLIPPED_RUN]
        for ahead in range(1, CLIPPED_RUN):
            run = run & full[ahead : ahead + run.shape[0]]
        self.is_clipped = self.is_clipped or bool(run.any())
        with np.errstate(invalid="ignore", over="ignore"):  # _require_scale reports what is not finite
            self._mixed.append(block.mean(axis=1))
            if self.n > 1:
                self._sums += block.sum(axis=0, dtype=np.float64)
                self._squares += np.square(block, dtype=np.float64).sum(axis=0)
                self._square_of_sum += float(np.square(block.sum(axis=1, dtype=np.float64)).sum())

    def mixed(self) -> NDArray[np.float32]:
        """The mean of the channels. [n]"""
        return np.concatenate(self._mixed)

    def agreement(self) -> float:
        """The mean correlation of all pairs of channels, weighted by their levels."""
        n_samples = sum(map(len, self._mixed))
        variances = np.maximum(self._squares - self._sums**2 / n_samples, 0)
        pairs = np.sqrt(variances).sum() ** 2 - variances.sum()
        shared = self._square_of_sum - self._sums.sum() ** 2 / n_samples - variances.sum()
        return 1.0 if pairs <= 1e-3 * variances.sum() else float(shared / pairs)


def _is_text(data: bytes) -> bool:
    head = data[:4096]  # may end within a character, which decodes to \ufffd
    return bool(head) and b"\0" not in head and "\ufffd" not in head.decode("utf-8", "replace").rstrip("\ufffd")


def _require_length(name: str, duration_s: float) -> None:
    if not MIN_S <= duration_s <= MAX_S:
        raise UnusableReference(f"{name} lasts {duration_s:.1f} s", f"use 5 to 15 s (at least {MIN_S:.0f})")


def _require_scale(name: str, audio: NDArray[np.float32]) -> None:
    peak = np.abs(audio).max()
    if not np.isfinite(peak):
        raise UnusableReference(f"{name} has samples that are not numbers", "export it again as 16-bit WAV")
    if peak > MAX_PEAK:
        raise UnusableReference(
            f"{name} has samples of {peak:.0f} where full scale is 1", "export it again as 16-bit WAV"
        )


def _blocks(sound: SoundFile) -> Iterator[NDArray[np.float32]]:
    """Blocks of float32 [n, channels]. For a truncated file soundfile's own `blocks` would return stale memory."""
    n_left = sound.frames
    while n_left > 0 and len(block := sound.read(min(n_left, 65536), dtype="float32", always_2d=True)):
        yield block
        n_left -= len(block)


def _has_flat_tops(audio: NDArray[np.float32]) -> bool:
    """Whether the sound stays at its own highest or lowest value time and again, although that is below full scale."""
    for side in (audio, -audio):
        at_peak = side >= side.max() * 0.9999
        held = at_peak[:-2] & at_peak[1:-1] & at_peak[2:]
        if np.count_nonzero(held[1:] & ~held[:-1]) >= FLAT_TOPS:
            return True
    return False


def _loudness(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The standard deviation of every whole window, so that a constant offset counts as silence. audio: float32 [n]."""
    window = _window(rate_hz)
    loudness: NDArray[np.float32] = audio[: audio.size // window * window].reshape(-1, window).std(axis=1)
    return loudness


def _sound_in(loudness: NDArray[np.float32], rate_hz: int) -> Sound:
    """Windows above the silence, or above the noise where that is louder."""
    loudest = loudness.max()
    limit = max(loudest * SILENT_BELOW, min(2 * np.percentile(loudness, 5), loudest * NOISE_BELOW))
    loud = np.flatnonzero(loudness >= limit)
    gaps = np.diff(loud) - 1
    n_loud = loud.size + gaps[gaps <= JOINED_WINDOWS].sum()
    window = _window(rate_hz)
    in_windows = (n_loud, loud[0], loud[-1] + 1, max(gaps, default=0))
    return Sound(*(int(n) * window / rate_hz for n in in_windows))


def _window(rate_hz: int) -> int:
    """Whole samples of a window."""
    return int(WINDOW_S * rate_hz)


def decibels(level: float) -> float:
    """An amplitude in dBFS."""
    return 20 * float(np.log10(max(level, 1e-9)))
