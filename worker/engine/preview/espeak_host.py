"""The espeak-ng host: a process that loads the library once and forks a child for every text.

The library keeps the phase of its waves and its flutter between texts and has no call that resets them, so
a text sounds different each time a process speaks it. A take-over needs the very same samples. Every child
starts from the state right after initialisation, which makes its samples a function of its request alone.

Run by path and with `-I -S`: it imports nothing but a few modules of the standard library, so it starts
fast, stays small and has one thread, as forking wants it.

    espeak_host.py <control fd> <libespeak-ng> <its data folder>

control: first a status message from here, then one byte with one socket attached for every text. On that
socket comes the request, JSON {text, voice, rate_wpm, pitch} up to the end of the stream; messages go back,
each a header `kind, number of bytes` and those bytes. A closed socket is a cancel; a closed control socket
ends the host.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys

HEADER = struct.Struct("<BI")
PCM = 0  # int16 samples in the machine's byte order
END = 1  # spoken to the end
FAILED = 2  # a text that says why
NO_VOICE = 3  # espeak-ng has no such voice
READY = 4  # JSON {rate_hz}: the host is initialised

_CPU_LIMIT_S = 60  # a minute of speech takes 0.1 s; the kernel ends a child that never comes back
_SYNCHRONOUS_OUTPUT = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_CHARACTER_POSITION = 1
_RATE, _PITCH = 1, 3
_SAMPLES_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def send(to: socket.socket, kind: int, data: bytes = b"") -> None:
    """Send one message. Raises OSError when the reader is gone."""
    to.sendall(HEADER.pack(kind, len(data)) + data)


def initialise(library: str, data_folder: str) -> tuple[ctypes.CDLL, int]:
    """Load espeak-ng; return it and its sample rate. Raises OSError."""
    espeak = ctypes.CDLL(library)
    espeak.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    rate_hz = espeak.espeak_Initialize(_SYNCHRONOUS_OUTPUT, 0, os.fsencode(data_folder), _DONT_EXIT)
    if rate_hz <= 0:
        raise OSError(f"espeak_Initialize({data_folder}) gave {rate_hz}")
    return espeak, rate_hz


def synthesise(espeak: ctypes.CDLL, to: socket.socket, request: dict[str, object]) -> None:
    """Speak one request into its socket. Raises OSError when the reader is gone before the end."""
    if espeak.espeak_SetVoiceByName(str(request["voice"]).encode()) != 0:
        send(to, NO_VOICE, str(request["voice"]).encode())
        return
    espeak.espeak_SetParameter(_RATE, request["rate_wpm"], 0)
    espeak.espeak_SetParameter(_PITCH, request["pitch"], 0)

    def on_samples(samples: int | None, n_samples: int, _events: int | None) -> int:
        if samples and n_samples > 0:
            try:
                send(to, PCM, ctypes.string_at(samples, 2 * n_samples))
            except OSError:
                return 1  # the reader is gone: stop
        return 0

    espeak.espeak_ng_SetRandSeed(1)  # breathy voices draw noise, seeded with the process id until now
    callback = _SAMPLES_CALLBACK(on_samples)
    espeak.espeak_SetSynthCallback(callback)
    text = str(request["text"]).encode()
    status = espeak.espeak_Synth(text, len(text) + 1, 0, _CHARACTER_POSITION, 0, _CHARS_UTF8, None, None)
    if status != 0:
        send(to, FAILED, f"espeak_Synth gave {status}".encode())
    else:
        send(to, END)


def _answer(espeak: ctypes.CDLL, to: socket.socket) -> None:
    request = bytearray()
    while part := to.recv(65536):
        request += part
    try:
        synthesise(espeak, to, json.loads(request))
    except OSError:
        pass  # cancelled, or the worker died: nobody listens
    except Exception as error:
        send(to, FAILED, repr(error).encode())


def _fork_for(to: socket.socket, control: socket.socket, espeak: ctypes.CDLL) -> None:
    try:
        is_child = os.fork() == 0
    except OSError as error:
        with contextlib.suppress(OSError):
            send(to, FAILED, f"cannot fork: {error}".encode())
        return
    if not is_child:
        return
    try:
        control.close()
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
        _answer(espeak, to)
    finally:
        os._exit(0)


def serve(control: socket.socket, espeak: ctypes.CDLL) -> None:
    """Fork a child for every socket that comes over `control`, until that is closed."""
    while True:
        byte, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not byte:
            return
        for fd in fds:
            with socket.socket(fileno=fd) as to:
                _fork_for(to, control, espeak)


def main(control_fd: int, library: str, data_folder: str) -> None:
    # The worker ends this process by closing the control socket, after it has finished or released its jobs.
    # A terminal's Ctrl-C or a service manager's SIGTERM reaches the whole group, and must not end it earlier.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    with socket.socket(fileno=control_fd) as control:
        try:
            espeak, rate_hz = initialise(library, data_folder)
        except OSError as error:
            send(control, FAILED, str(error).encode())
            return
        send(control, READY, json.dumps({"rate_hz": rate_hz}).encode())
        gc.disable()
        gc.freeze()  # children share these pages until they are written to
        serve(control, espeak)


if __name__ == "__main__":  # pragma: no cover (the host is a process of its own)
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
