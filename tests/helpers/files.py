"""Helpers that write test files and list folders."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def save_mask(path: Path, mask: np.ndarray) -> Path:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


def save_blank_png(path: Path, width: int, height: int) -> Path:
    """Write a valid black one-bit PNG; compressed row by row, so that even a huge one needs little memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compressor = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


def listing(folder: Path) -> dict[str, bytes]:
    """Return everything under a folder, hidden files included: relative path → content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}
