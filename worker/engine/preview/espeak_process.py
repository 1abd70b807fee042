"""Synthesises one text with espeak-ng: text on stdin, int16 samples on stdout. A program, run by path.

    python -I -S espeak_process.py <libespeak-ng> <its data folder> <voice> <words per minute> <pitch>

espeak-ng keeps state between texts (the phase of its waves, the flutter) and has no call that resets it. A take-over
needs the very same samples, so every text gets a fresh process. Its imports are few because each text pays for them.

Exit status: 0 for a whole text, NO_VOICE where espeak-ng lacks the voice, else 1 with the reason on stderr.
"""

import ctypes
import os
import resource
import sys

RATE_HZ = 22_050
NO_VOICE = 3

_CPU_LIMIT_S = 60  # a minute of speech takes 0.1 s; ends a synthesis that hangs after its worker was killed
_SIGHUP, _SIGINT, _SIGTERM, _IGNORE = 1, 2, 15, 1  # the module `signal` takes a third of the process's start
_SYNCHRONOUS_OUTPUT, _DONT_EXIT = 2, 0x8000
_CHARS_UTF8, _CHARACTER_POSITION = 1, 1
_RATE, _PITCH = 1, 3
_SAMPLES_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def main(library: str, data_folder: str, voice: str, rate_wpm: int, pitch: int) -> int:
    # A service manager's SIGTERM reaches every process of the worker. The worker finishes its jobs before it ends.
    for number in (_SIGHUP, _SIGINT, _SIGTERM):
        ctypes.CDLL(None).signal(number, ctypes.c_void_p(_IGNORE))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
    espeak = ctypes.CDLL(library)
    rate_hz = espeak.espeak_Initialize(_SYNCHRONOUS_OUTPUT, 0, os.fsencode(data_folder), _DONT_EXIT)
    if rate_hz != RATE_HZ:
        sys.exit(f"espeak_Initialize({data_folder}) returned a rate of {rate_hz} Hz instead of {RATE_HZ}")
    if espeak.espeak_SetVoiceByName(os.fsencode(voice)) != 0:
        return NO_VOICE
    espeak.espeak_SetParameter(_RATE, rate_wpm, 0)
    espeak.espeak_SetParameter(_PITCH, pitch, 0)
    espeak.espeak_ng_SetRandSeed(1)  # breathy voices draw noise, seeded with the process id until here
    return _synthesise(espeak, sys.stdin.buffer.read())


def _synthesise(espeak: ctypes.CDLL, text: bytes) -> int:
    def on_samples(samples: int | None, n_samples: int, _events: int | None) -> int:
        if samples and n_samples > 0:
            try:
                sys.stdout.buffer.write(ctypes.string_at(samples, 2 * n_samples))
                sys.stdout.buffer.flush()
            except OSError:
                os._exit(1)  # the reader is gone
        return 0

    callback = _SAMPLES_CALLBACK(on_samples)  # espeak-ng keeps the address only: this name keeps it alive
    espeak.espeak_SetSynthCallback(callback)
    n_bytes, flags = ctypes.c_size_t(len(text) + 1), ctypes.c_uint(_CHARS_UTF8)
    status = espeak.espeak_Synth(text, n_bytes, 0, _CHARACTER_POSITION, 0, flags, None, None)
    if status != 0:
        sys.exit(f"espeak_Synth returned {status}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
