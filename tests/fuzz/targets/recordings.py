"""Reference recordings in every container that libsndfile reads, and encoded samples on their way back to sound."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray

from tests.fuzz.strategies import Change, edited, edits, indices, mostly, replaced, several, strings
from tests.fuzz.target import Target, packed, require, unpacked
from worker.audio import AudioError
from worker.audio.decode import decode
from worker.audio.encode import bytes_per_sample, encoder
from worker.voices.card import Card
from worker.voices.prompt import SAMPLE_RATE_HZ, SILENCE_S, prepare
from worker.voices.recording import MAX_PEAK, MAX_S, MIN_S
from worker.voices.reference import UnusableReference, checked, recording_of

RATE_HZ = 8000
SECONDS = 3.1
WRITTEN = (
    "WAV PCM_16", "WAV PCM_U8", "WAV PCM_24", "WAV FLOAT", "WAV ULAW", "WAV IMA_ADPCM", "WAV MS_ADPCM", "WAV GSM610",
    "WAVEX PCM_16", "RF64 PCM_16", "W64 PCM_16", "AIFF PCM_16", "AU ALAW", "CAF PCM_16", "FLAC PCM_16", "OGG VORBIS",
    "OGG OPUS", "MP3 MPEG_LAYER_III", "NIST PCM_16", "VOC PCM_16", "PAF PCM_16", "SDS PCM_16", "MAT5 PCM_16",
)  # fmt: skip
TAGS = (
    b"LIST", b"fact", b"PEAK", b"cue ", b"smpl", b"bext", b"JUNK", b"id3 ", b"ds64", b"data", b"fmt ", b"inst", b"acid",
)  # fmt: skip
Chunks = list[tuple[bytes, bytes]]


@cache
def seeds() -> list[bytes]:
    """The same in every process, but for the number that libsndfile draws for an Ogg stream."""
    mono = _sound(SECONDS)
    recordings = [_written(mono, *form.split()) for form in WRITTEN]
    return [
        *recordings,
        _written(np.stack((mono, mono), axis=1), "WAV", "PCM_16"),
        riff([(b"fmt ", b""), (b"data", b"")]),
    ]


def _sound(seconds: float) -> NDArray[np.int16]:
    """Bursts of noise, made without a floating-point number: those differ in their last bit with where they lie."""
    n = int(seconds * RATE_HZ)
    noise = np.random.default_rng(2).integers(-9000, 9000, n, dtype=np.int16)
    noise[np.arange(n) // 1000 % 4 == 3] = 0
    return noise


def _written(samples: NDArray[np.int16], container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format=container, subtype=subtype)
    return file.getvalue()


def riff(chunks: Chunks) -> bytes:
    """A WAV file of these chunks."""
    body = b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def chunks_of(data: bytes) -> Chunks:
    chunks: Chunks = []
    at = 12
    while at + 8 <= len(data) and len(chunks) < 50:
        n_bytes = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + n_bytes]))
        at += 8 + n_bytes + n_bytes % 2
    return chunks


formats = st.builds(
    lambda tag, channels, rate, bits, block, extra: (
        struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block or channels * bits // 8 % 65536, bits)
        + extra
    ),
    st.sampled_from((1, 1, 1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE)) | st.integers(0, 65535),
    st.sampled_from((1, 1, 1, 2, 6, 255, 1024, 1025, 0, 65535)),
    st.sampled_from((8000, 8000, 24_000, 384_000, 0, 1, 7999, 2**31 - 1, 2**32 - 1)),
    st.sampled_from((16, 16, 8, 24, 32, 64, 0, 1, 12, 65535)),
    st.just(0) | st.integers(0, 65535),
    st.sampled_from((b"", b"\0\0", struct.pack("<H", 22) + bytes(range(22)))) | st.binary(max_size=24),
)
samples = st.builds(
    lambda unit, n_bytes: (unit * n_bytes)[:n_bytes],
    st.sampled_from((b"\0", b"\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", bytes(range(64)))),
    st.sampled_from((0, 1, 3, 4000, 50_000, 200_000)),
)


def _with_part(tag: bytes) -> Callable[[bytes], Change[Chunks]]:
    return lambda new: lambda chunks: [(name, new if name == tag else part) for name, part in chunks]


def _rearrange(at: int, to: int, how: str, tag: bytes, edit: Change[bytes]) -> Change[Chunks]:
    """A chunk edited, renamed, moved, doubled or left out, or all of them many times."""

    def change(chunks: Chunks) -> Chunks:
        name, part = one = chunks[at % len(chunks)]
        rest = replaced(chunks, at)
        instead = {"edit": [(name, edit(part))], "rename": [(tag, part)], "double": [one, one], "drop": []}
        if how in instead:
            return replaced(chunks, at, *instead[how]) or chunks
        return [*rest[:to], one, *rest[to:]] if how == "move" else [one] * 300 + rest

    return change


rearranged = st.builds(
    _rearrange,
    indices,
    st.integers(0, 5),
    st.sampled_from(("edit", "edit", "rename", "double", "drop", "move", "many")),
    st.sampled_from(TAGS),
    edits,
)


def a_recording() -> SearchStrategy[bytes]:
    """Chunks of a WAV file changed, or the bytes of any file edited."""
    known = st.sampled_from([chunks_of(data) for data in seeds() if data[:4] == b"RIFF"])
    with_format = formats.map(_with_part(b"fmt "))
    waves = several(known, with_format, samples.map(_with_part(b"data")), rearranged).map(riff)
    return waves | edited(*seeds())


def _lay(data: bytes, folder: Path) -> None:
    (folder / "reference.wav").write_bytes(data)


def parse_recording(data: bytes, folder: Path) -> bool:
    card = Card(
        name=folder.name, languages=("English",),
    reference="reference.wav", transcript="Some words that were said.",
        reference_sha256=hashlib.sha256(data).hexdigest(), licence="ours", consent="given", folder=folder,
    )  # fmt: skip
    recording = recording_of(card)
    audio = recording.audio
    require(audio.dtype == np.float32 and audio.ndim == 1, "audio of another type or shape")
    require(bool(np.isfinite(audio).all() and np.abs(audio).max() <= MAX_PEAK), "samples that are no sound")
    require(
        MIN_S <= recording.duration_s <= MAX_S and 0 < recording.sound.total_s <= recording.duration_s,
        "of another length",
    )
    require(np.array_equal(recording_of(card).audio, audio), "decoded otherwise the second time")
    ready = checked(card)
    require(
        ready.complete and all(warning.isprintable() for warning in ready.reference_warnings), "judged otherwise twice"
    )
    reference = prepare(ready)
    n_samples = recording.duration_s * SAMPLE_RATE_HZ + SILENCE_S * SAMPLE_RATE_HZ
    require(abs(reference.audio.size - n_samples) <= 2, "the prompt's audio is of another length")
    require(bool(np.isfinite(reference.audio).all()), "the prompt's audio is no sound")
    return True


RECORDING = Target(
    "recording",
    parse_recording,
    seeds,
    a_recording,
    (UnusableReference,),
    weight=7,
    lay=_lay,
    cpu_s=2.0,
    memory_mib=256,
)


@cache
def encoded() -> list[bytes]:
    sound = (_sound(0.05) / 32768).astype(np.float32)
    names = ("pcm_s16le", "pcm_f32le", "mulaw", "alaw")
    return [packed([name, encoder(name).encode(sound)]) for name in names] + [packed(["mp3", b""])]


def other_samples() -> SearchStrategy[bytes]:
    names = mostly(st.sampled_from([unpacked(data)[0] for data in encoded()]), strings)
    return st.tuples(names, edited(*(unpacked(data)[1] for data in encoded()))).map(packed)


def parse_samples(data: bytes, folder: Path) -> bool:
    encoding, samples = unpacked(data)
    pcm = decode(encoding, samples)
    require(pcm.dtype == np.float32 and pcm.shape == (len(samples) // bytes_per_sample(encoding),), "of another shape")
    if encoding != "pcm_f32le":
        require(bool((np.abs(pcm) <= 1).all()), "samples beyond full scale")
    if encoding == "pcm_s16le":
        require(encoder(encoding).encode(pcm) == samples[: 2 * pcm.size], "16-bit samples that come back changed")
    return True


SAMPLES = Target("samples", parse_samples, encoded, other_samples, (AudioError,), weight=2)
