"""Make voices/placeholder/reference.wav with espeak-ng: a synthetic voice to try cloning with.

    python benchmarks/placeholder_voice.py [OUT.wav]

Needs the `preview` extra. The same library makes the same file. The printed digest and TRANSCRIPT belong in the card.
SPOKEN holds the same sentences in the spelling that espeak-ng reads: kana only, because it spells kanji out one by one,
and the particle は as わ, because it reads the letter.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

TRANSCRIPT = "こんにちは。私は、マキマの、仮の声です。本当の声が届くまで、お話しします。"
SPOKEN = "こんにちわ。わたしわ、まきまの、かりのこえです。ほんとうのこえがとどくまで、おはなしします。"
LANGUAGE = b"ja"
PITCH = 60
RATE_WPM = 175
OUT_RATE_HZ = 24_000
PEAK = 10 ** (-3 / 20)
PAUSE_S = 0.2

SYNCHRONOUS = 2
UTF8 = 1
RATE_PARAMETER, PITCH_PARAMETER = 1, 3
SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main(out: Path) -> None:
    pcm, rate_hz = speak(SPOKEN)
    loud = np.flatnonzero(np.abs(pcm) > 0.01)
    pcm = soxr.resample(pcm[loud[0] : loud[-1]], rate_hz, OUT_RATE_HZ, quality="VHQ")
    pcm *= PEAK / np.abs(pcm).max()
    pause = np.zeros(int(PAUSE_S * OUT_RATE_HZ), dtype=np.float32)
    pcm = np.concatenate((pause, pcm, pause))
    samples = np.rint(pcm * 32768).astype(np.int16)
    soundfile.write(out, samples, OUT_RATE_HZ, subtype="PCM_16", format="WAV")
    print(f"{out}: {len(samples) / OUT_RATE_HZ:.2f} s, {out.stat().st_size} bytes")
    print(f'reference_sha256 = "{hashlib.sha256(out.read_bytes()).hexdigest()}"')
    print(f'transcript = "{TRANSCRIPT}"')


def speak(text: str) -> tuple[NDArray[np.float32], int]:
    """Speak Japanese with espeak-ng; returns float32 samples and their rate in Hz."""
    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = int(espeak.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0))
    if rate_hz <= 0:
        raise SystemExit("espeak-ng did not start; install the preview extra: pip install 'makima-tts[preview]'")
    parts: list[NDArray[np.int16]] = []

    def receive(samples: ctypes._Pointer[ctypes.c_short], n_samples: int, _events: int) -> int:
        if samples and n_samples:
            parts.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        return 0

    callback = SynthCallback(receive)  # espeak-ng stores only the address; this name keeps the object alive
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(LANGUAGE) != 0:
        raise SystemExit(f"this espeak-ng has no voice {LANGUAGE.decode()}")
    espeak.espeak_SetParameter(RATE_PARAMETER, RATE_WPM, 0)
    espeak.espeak_SetParameter(PITCH_PARAMETER, PITCH, 0)
    encoded = text.encode()
    espeak.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, UTF8, None, None)
    espeak.espeak_Terminate()
    return np.concatenate(parts).astype(np.float32) / np.float32(32768), rate_hz


if __name__ == "__main__":
    here = Path(__file__).parent.parent / "voices" / "placeholder" / "reference.wav"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
