"""Open JTalk with the voice Mei, the Japanese voice. Runs in a voice's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from worker.engine.preview.natural.readable import japanese_text
from worker.engine.preview.natural.samples import levelled, shortened, trimmed, with_pause

RATE_HZ = 48_000
COMMA_S = 0.25  # Open JTalk pauses for 0.6 s at a comma, twice as long as after a sentence
GAIN = 0.75 / 32_768  # as loud as the English voice


def load() -> Callable[[dict[str, Any]], Iterator[bytes]]:
    """Load the dictionary and the voice. The returned function speaks a request: int16 samples at 48 kHz."""
    open_jtalk = library()

    def speak(request: dict[str, Any]) -> Iterator[bytes]:
        for written, pause_ms in request["pieces"]:
            labels = open_jtalk.extract_fullcontext(japanese_text(written))
            if not labels:
                continue
            spoken, rate_hz = open_jtalk.synthesize(labels, request["speed"], request["half_tone"])
            if rate_hz != RATE_HZ:
                raise RuntimeError(f"Open JTalk gave {rate_hz} Hz instead of {RATE_HZ}")
            speech = shortened(trimmed(levelled(spoken, GAIN), RATE_HZ), COMMA_S, RATE_HZ)
            yield with_pause(speech, pause_ms, RATE_HZ)

    open_jtalk.tts("準備完了。")  # loads what every text uses
    return speak


def reading(text: str) -> str | None:
    """A text in katakana; None where Open JTalk is not installed."""
    try:
        return str(library().g2p(text, kana=True))
    except ImportError:
        return None


@cache
def library() -> Any:
    """The module pyopenjtalk, which loads two small onnxruntime models when it is imported. Raises ImportError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # other threads would not survive a fork
    session = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = partial(session, sess_options=options)
    try:
        import pyopenjtalk
    finally:
        onnxruntime.InferenceSession = session
    return pyopenjtalk
