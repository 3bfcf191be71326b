"""A mask at rest: one bit a pixel, compressed. A mask of 40 megapixels takes some kilobytes instead of 40 MB."""

import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PackedMask:
    shape: tuple[int, int]
    data: bytes

    @property
    def nbytes(self) -> int:
        return len(self.data)


def pack(mask: np.ndarray) -> PackedMask:
    """Pack an (H, W) bool mask."""
    return PackedMask(mask.shape, zlib.compress(np.packbits(mask).tobytes(), 1))


def unpack(packed: PackedMask) -> np.ndarray:
    """The (H, W) bool mask."""
    bits = np.frombuffer(zlib.decompress(packed.data), np.uint8)
    height, width = packed.shape
    return np.unpackbits(bits, count=height * width).reshape(packed.shape).view(bool)
