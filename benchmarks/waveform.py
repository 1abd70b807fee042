"""Draws the README's picture: the demo's waveform on a listener's clock, with the first audible sound marked.

    python -m benchmarks.waveform docs/demo.png [--text TEXT]

The clock starts when the job is published, and the first audible sound is drawn where a listener received it. The
picture is an indexed PNG, written with zlib alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from worker.audio.edges import first_audible
from worker.quality.png import Canvas, encode_png, write_label

WIDTH, HEIGHT, MARGIN = 1200, 240, 28
TEXT = "Hello, this is Makima. Tell me what you would like to hear."
BACKGROUND, WAVE, AXIS, MARK = range(4)
PALETTE = bytes.fromhex("ffffff 3b6ea5 9aa4ad d1242f".replace(" ", ""))


def demo(text: str) -> tuple[NDArray[np.float32], int, float]:
    """Speak the text by `makima-tts demo`: samples, rate, seconds from publishing to the first audible sound."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo.wav"
        words = ["demo", text, "--engine", "preview", "--voice", "placeholder", "--out", str(out), "--json"]
        done = subprocess.run([sys.executable, "-m", "worker.cli", *words], capture_output=True, check=True)  # noqa: S603
        pcm, rate = soundfile.read(out, dtype="float32")
        return pcm, rate, json.loads(done.stdout)["first_audible_s"]


def draw(pcm: NDArray[np.float32], rate: int, first_s: float) -> Canvas:
    """The picture, uint8 [HEIGHT, WIDTH] of palette indices. pcm: float32 [n]."""
    onset = first_audible(pcm) or 0
    start_s = first_s - onset / rate  # of the samples, so that the onset falls on first_s
    span_s = start_s + len(pcm) / rate
    per_s = (WIDTH - 2 * MARGIN) / span_s
    canvas: Canvas = np.full((HEIGHT, WIDTH), BACKGROUND, np.uint8)
    middle, half = HEIGHT // 2, HEIGHT // 2 - MARGIN - 6
    loudest = float(np.abs(pcm).max()) or 1.0
    canvas[middle, MARGIN : WIDTH - MARGIN] = AXIS
    for x in range(MARGIN, WIDTH - MARGIN):
        at = round(((x - MARGIN) / per_s - start_s) * rate)
        part = pcm[max(at, 0) : max(at + round(rate / per_s), 0)]
        if part.size:
            height = round(half * float(np.abs(part).max()) / loudest)
            canvas[middle - height : middle + height + 1, x] = WAVE
    for second in range(int(span_s) + 1):
        x = MARGIN + round(second * per_s)
        canvas[HEIGHT - MARGIN : HEIGHT - MARGIN + 6, x] = AXIS
        write_label(canvas, f"{second} s", x - 6, HEIGHT - 18, AXIS)
    x = MARGIN + round(first_s * per_s)
    canvas[MARGIN - 4 : HEIGHT - MARGIN, x : x + 2] = MARK
    write_label(canvas, f"{first_s * 1000:.0f} ms", x + 6, 6, MARK)
    return canvas


def png(canvas: Canvas) -> bytes:
    """The picture as an indexed PNG."""
    return encode_png(canvas, PALETTE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the demo's waveform into a PNG file.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--text", default=TEXT)
    given = parser.parse_args()
    given.out.write_bytes(png(draw(*demo(given.text))))
    print(f"wrote {given.out}, {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
