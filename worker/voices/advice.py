"""What would improve a recording, or may be wrong with it: warnings, which refuse nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from worker.voices import transcript
from worker.voices.card import Card
from worker.voices.recording import Recording, decibels
from worker.voices.speechlike import sounds_like_speech

RECOMMENDED_S = (5.0, 15.0)
BRIGHT_RATE_HZ = 16_000
BRIGHT_ABOVE_HZ = 4_500
MIN_BRIGHT_DB = -42.0  # energy above BRIGHT_ABOVE_HZ: -15 to -29 dB in speech, below -45 dB over a telephone
MIN_PEAK = 10 ** (-26 / 20)
MAX_OFFSET = 0.01
MAX_SILENT_SHARE = 0.6
MAX_EDGE_S = 1.5
MAX_PAUSE_S = 2.0
MIN_AGREEMENT = 0.3  # mean correlation of a recording's channels: two speakers have about 0


def warnings_of(card: Card, recording: Recording) -> list[str]:
    """One sentence for each, with its remedy."""
    warnings = [*_of_format(recording), *_of_level(recording), *_of_silence(recording)]
    if not sounds_like_speech(recording.audio, recording.rate_hz):
        warnings.append("the recording does not sound like speech; listen to it, and record one voice without music")
    elif recording.rate_hz >= BRIGHT_RATE_HZ and _bright_db(recording) < MIN_BRIGHT_DB:
        warnings.append("the recording has nothing above 4 kHz, as over a telephone; the voice will sound as dull")
    if card.mode == "icl" and card.transcript is not None:
        warnings += transcript.warnings_of(card.transcript, card.languages, recording.sound.total_s)
    return warnings


def _of_format(recording: Recording) -> Iterator[str]:
    shortest_s, longest_s = RECOMMENDED_S
    duration_s = recording.duration_s
    if not shortest_s <= duration_s <= longest_s:
        yield f"the recording lasts {duration_s:.1f} s; {shortest_s:.0f} to {longest_s:.0f} s give the best likeness"
    if recording.n_channels != 1:
        mixed = f"the recording has {recording.n_channels} channels, which will be mixed"
        if recording.agreement >= MIN_AGREEMENT:
            yield f"{mixed}; one microphone is better"
        elif recording.agreement > -MIN_AGREEMENT:
            yield f"{mixed}, and they differ, as two speakers or two rooms do; keep the one with the voice"
        else:
            yield f"{mixed}, and they cancel each other; keep one of them"
    if recording.rate_hz < BRIGHT_RATE_HZ:
        yield f"the recording's rate is {recording.rate_hz} Hz; 24000 or more keeps the voice's brightness"


def _of_level(recording: Recording) -> Iterator[str]:
    if recording.is_clipped:
        yield "the recording stays at full scale and is clipped there; record it more quietly"
    if abs(recording.offset) > MAX_OFFSET:
        yield f"the recording has a constant offset of {recording.offset:.2f} (full scale is 1); remove it (DC offset)"
    if recording.peak < MIN_PEAK:
        yield f"the recording's level is low: its peak is {decibels(recording.peak):.0f} dBFS; -12 to -3 is good"


def _of_silence(recording: Recording) -> Iterator[str]:
    sound = recording.sound
    silent_share = 1 - sound.total_s / recording.duration_s
    if silent_share > MAX_SILENT_SHARE:
        yield f"{silent_share:.0%} of the recording is silence; cut the pauses out"
        return
    for where, seconds in (("begins", sound.start_s), ("ends", recording.duration_s - sound.end_s)):
        if seconds > MAX_EDGE_S:
            yield f"the recording {where} with {seconds:.1f} s of silence; leave 0.1 to 0.3 s"
    if sound.longest_pause_s > MAX_PAUSE_S:
        yield f"the recording has a pause of {sound.longest_pause_s:.1f} s; shorten it to under 1 s"


def _bright_db(recording: Recording) -> float:
    """Energy above BRIGHT_ABOVE_HZ, in dB of all of it."""
    window = 1024
    blocks = recording.audio[: recording.audio.size // window * window].reshape(-1, window)
    windowed = (blocks - recording.offset) * np.hanning(window).astype(np.float32)
    power = (np.abs(np.fft.rfft(windowed, axis=1)) ** 2).sum(axis=0)
    bright = power[np.arange(power.size) * recording.rate_hz / window > BRIGHT_ABOVE_HZ]
    return 10 * float(np.log10(bright.sum() / power.sum() + 1e-12))
