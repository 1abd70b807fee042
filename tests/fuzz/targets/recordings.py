"""Reference recordings in every container that libsndfile reads, and encoded samples on their way back to sound."""

from __future__ import annotations

import hashlib
import io
import struct
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.fuzz import mutate as plain
from tests.fuzz import odd
from tests.fuzz.mutate import rearranged, replaced
from tests.fuzz.target import Target, packed, require, unpacked, write
from worker.audio import AudioError
from worker.audio.decode import decode
from worker.audio.encode import bytes_per_sample, encoder
from worker.voices.card import Card
from worker.voices.prompt import SAMPLE_RATE_HZ, SILENCE_S, prepare
from worker.voices.reference import MAX_PEAK, MAX_S, MIN_S, UnusableReference, checked, recording_of

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


def a_recording(draw: Random, data: bytes, other: bytes) -> bytes:
    if data[:4] == b"RIFF" and draw.random() < 0.6:
        chunks = chunks_of(data) or [(b"data", other[:4000])]
        data = riff(plain.several(draw, chunks, (_format, _format, _chunk, _order, _samples)))
        if draw.random() < 0.8:
            return data
    return plain.mutate(draw, data, other)


def _format(draw: Random, chunks: Chunks) -> Chunks:
    """A format chunk that may say anything: codec, channels, rate, bytes a second, bytes a frame, bits."""
    tag = draw.choice((1, 1, 1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE, odd.integer(draw) % 65536))
    channels = draw.choice((1, 1, 1, 2, 6, 255, 1024, 1025, 0, 65535))
    rate = draw.choice((8000, 8000, 24_000, 384_000, 0, 1, 7999, 2**31 - 1, odd.integer(draw) % 2**32))
    bits = draw.choice((16, 16, 8, 24, 32, 64, 0, 1, 12, 65535))
    block = draw.choice((channels * bits // 8 % 65536, odd.integer(draw) % 65536))
    extra = draw.choice((b"", b"\0\0", draw.randbytes(24), struct.pack("<H", 22) + draw.randbytes(22)))
    packed_format = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block, bits) + extra
    return [(name, packed_format if name == b"fmt " else part) for name, part in chunks]


def _chunk(draw: Random, chunks: Chunks) -> Chunks:
    at = draw.randrange(len(chunks))
    name, part = chunks[at]
    tag = draw.choice(TAGS)
    changed = draw.choice(((name, plain.mutate(draw, part, part)), (tag, part), (tag, draw.randbytes(60))))
    return draw.choice((replaced(chunks, at, changed), replaced(chunks, at, changed, chunks[at])))


def _order(draw: Random, chunks: Chunks) -> Chunks:
    return draw.choice((rearranged(draw, chunks), chunks * 2, chunks[:1] * 300 + chunks)) or chunks


def _samples(draw: Random, chunks: Chunks) -> Chunks:
    """Silence, noise, extremes or no numbers where the samples are."""
    n_bytes = draw.choice((0, 1, 3, 4000, 50_000, 200_000))
    unit = draw.choice((b"\0", b"\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", draw.randbytes(64)))
    return [(name, (unit * n_bytes)[:n_bytes] if name == b"data" else part) for name, part in chunks]


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
        MIN_S <= recording.duration_s <= MAX_S and 0 < recording.sound_s <= recording.duration_s, "of another length"
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
    place="tests.fuzz.targets.recordings:RECORDING",
    seeds=seeds,
    mutate=a_recording,
    lay=lambda data, folder: write(folder / "reference.wav", data),
    parse=parse_recording,
    declared=(UnusableReference,),
    weight=7,
    modules=("worker.voices.reference", "worker.voices.prompt"),
    cpu_s=2.0,
    memory_mib=256,
)


def encoded() -> list[bytes]:
    sound = (_sound(0.05) / 32768).astype(np.float32)
    names = ("pcm_s16le", "pcm_f32le", "mulaw", "alaw")
    return [packed([name, encoder(name).encode(sound)]) for name in names] + [packed(["mp3", b""])]


def other_samples(draw: Random, data: bytes, other: bytes) -> bytes:
    (encoding, samples), (another, others) = unpacked(data), unpacked(other)
    odd_name = odd.string(draw) if draw.random() < 0.05 else another
    return packed([draw.choice((encoding, encoding, odd_name)), plain.mutate(draw, samples, others)])


def parse_samples(data: bytes, folder: Path) -> bool:
    encoding, samples = unpacked(data)
    pcm = decode(encoding, samples)
    require(pcm.dtype == np.float32 and pcm.shape == (len(samples) // bytes_per_sample(encoding),), "of another shape")
    if encoding != "pcm_f32le":
        require(bool((np.abs(pcm) <= 1).all()), "samples beyond full scale")
    if encoding == "pcm_s16le":
        require(encoder(encoding).encode(pcm) == samples[: 2 * pcm.size], "16-bit samples that come back changed")
    return True


SAMPLES = Target(
    place="tests.fuzz.targets.recordings:SAMPLES",
    seeds=encoded,
    mutate=other_samples,
    parse=parse_samples,
    declared=(AudioError,),
    weight=2,
    modules=("worker.audio.decode",),
)
