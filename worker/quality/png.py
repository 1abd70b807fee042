"""Indexed PNG pictures with short labels, written with numpy and zlib alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.uint8]  # palette indices [height, width]

# Rows of 5 x 7 glyphs, five bits a row, top first.
GLYPHS = {
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    ".": "00000000000c0c", "H": "1111111f111111", "k": "10101214181412", "m": "00001a15151111", "s": "00000e100e011e",
    "z": "00001f0204081f", " ": "00000000000000",
}  # fmt: skip
GLYPH_WIDTH, GLYPH_HEIGHT = 6, 7


def write_label(canvas: Canvas, text: str, x: int, y: int, color: int, scale: int = 2) -> None:
    """Draw text of GLYPHS from this top left corner; what lies outside of the canvas is cut off."""
    rows = np.array([[int(GLYPHS[char][2 * row : 2 * row + 2], 16) for char in text] for row in range(GLYPH_HEIGHT)])
    bits = (rows[:, :, None] >> np.arange(GLYPH_WIDTH - 2, -2, -1).clip(0)) & 1
    bits[:, :, -1] = 0  # the blank column between two glyphs
    dots = np.argwhere(bits.reshape(GLYPH_HEIGHT, -1).repeat(scale, 0).repeat(scale, 1))
    for row, column in dots + np.array((y, x)):
        if 0 <= row < canvas.shape[0] and 0 <= column < canvas.shape[1]:
            canvas[row, column] = color


def label_width(text: str, scale: int = 2) -> int:
    return len(text) * GLYPH_WIDTH * scale


def encode_png(canvas: Canvas, palette: bytes) -> bytes:
    """An indexed PNG of 8 bits a pixel. palette: red, green and blue of each index."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = canvas.shape
    rows = np.hstack((np.zeros((height, 1), np.uint8), canvas)).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
