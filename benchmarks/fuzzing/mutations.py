"""Mutations of valid inputs, deep inside: JSON values, tensors, the parts of image files, text and bytes.

All functions take a random.Random first, and leave their argument unchanged.
"""

import copy
import json
import struct
import zlib
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file

JSON_VALUES = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**19), 0.5, -0.0, 1e-320, 1e38, 1e300,
    float("nan"), float("inf"), float("-inf"), "", " ", "x", "0", "null", "é" * 100, "x" * 70_000, "\0", "\ud800",
    "a\nb", "<b>bold</b>", "<asset0>", "../../x", "/dev/zero", [], {}, [[]], [None], [0], ["x"], {"x": None}, {"": {}},
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "\ufeff", "\u2028", "\x85", "\x0b", "\r", "\n\n\n", "\t", "<", "<asset0>", "{", "{0}", "%s", "é",
    "😀", "\u202e", "x" * 100, "x" * 70_000, "../..", "background",
)  # fmt: skip
DTYPES = (
    torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.uint8,
    torch.int64, torch.bool,
)  # fmt: skip


def mutate_json(rng: Random, value: object) -> object:
    """Change one to three values anywhere in a JSON value."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return rng.choice(JSON_VALUES)
        container, key = rng.choice(places)
        action = rng.randrange(8)
        if action == 0:
            del container[key]
        elif action == 1:
            container[key] = [copy.deepcopy(container[key])]
        elif action == 2 and isinstance(container, list):
            container.extend([container[key]] * rng.choice((1, 3, 300)))
        elif action == 3 and isinstance(container, dict):
            container[rng.choice(("", "x", "steps", "__class__"))] = container.pop(key)
        elif action == 4:
            _, other = rng.choice(places)
            container[key] = copy.deepcopy(other)
        elif action == 5 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
            container[key] = container[key] * rng.choice((-1, 0, 2, 1000, 1e30))
        else:
            container[key] = copy.deepcopy(rng.choice(JSON_VALUES))
    return value


def _places(value: object):
    """Iterate over (container, key) of all values inside, at most twenty of a list."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:20]) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def json_text(rng: Random, value: object) -> str:
    """Write a mutated JSON value, at times with a fault that only text can have."""
    text = json.dumps(mutate_json(rng, value))
    if rng.random() < 0.15:
        position = rng.randrange(len(text) + 1)
        depth = rng.choice((1, 100_000))
        text = text[:position] + rng.choice(("[" * depth, "}", ",", '"', "1" * 5000, "\\u0000", "é")) + text[position:]
    return text


def mutate_tensors(rng: Random, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Change one or two tensors of a state dict: shape, type, values, name, presence."""
    tensors = dict(tensors)
    for _ in range(rng.choice((1, 1, 2))):
        if not tensors:
            break
        name = rng.choice(sorted(tensors))
        tensor, action = tensors[name], rng.randrange(12)
        if action == 0:
            del tensors[name]
        elif action == 1:
            tensors[rng.choice((name + ".x", "x", "", "random", "handles", name.upper()))] = tensors.pop(name)
        elif action == 2:
            tensors[name] = tensor.to(rng.choice(DTYPES))
        elif action == 3:
            tensors[name] = tensor.flatten()[: rng.randrange(tensor.numel() + 1)].clone()
        elif action == 4:
            tensors[name] = tensor.T.contiguous() if tensor.ndim == 2 else tensor[None].contiguous()
        elif action == 5:
            tensors[name] = torch.cat([tensor.reshape(-1)] * 3)
        elif action == 6:
            tensors[name] = torch.zeros(rng.choice(((), (0,), (0, 4), (4, 0), (1,) * 9)))
        elif action == 7:
            other = tensors[rng.choice(sorted(tensors))]
            tensors[name] = other.clone()
        elif action == 8 and tensor.ndim:
            tensors[name] = tensor[: len(tensor) // 2].clone()
        elif action == 9:
            tensors[name] = torch.zeros_like(tensor)
        else:
            value = rng.choice((float("nan"), float("inf"), 1e38, -1e38, 6e4, 1e-40, -1.0))
            if tensor.is_floating_point():
                tensors[name] = _with_value(rng, tensor, value)
            else:
                tensors[name] = torch.full_like(tensor, int(rng.choice((0, 1, 255)) % 128))
    return tensors


def _with_value(rng: Random, tensor: torch.Tensor, value: float) -> torch.Tensor:
    if rng.random() < 0.5 or not tensor.numel():
        return torch.full(tensor.shape, value).to(tensor.dtype)
    changed = tensor.float().flatten()
    changed[rng.randrange(len(changed))] = value
    return changed.view_as(tensor).to(tensor.dtype)


def mutate_safetensors(rng: Random, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Rewrite a safetensors file: mostly with changed tensors, else with a changed header or changed bytes."""
    choice = rng.random()
    if choice < 0.75:
        save_file(mutate_tensors(rng, load_file(path)), path, metadata)
        return
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    if choice < 0.9:
        header = json_text(rng, json.loads(data[8 : 8 + length])).encode("utf-8", "surrogatepass")
        path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    else:
        path.write_bytes(data[: 8 + length] + mutate_bytes(rng, data[8 + length :]))


def mutate_bytes(rng: Random, data: bytes, start: int = 0) -> bytes:
    """Flip, zero, repeat, insert or cut bytes after `start`."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if len(data) <= start:
            break
        position, length = rng.randrange(start, len(data)), rng.choice((1, 1, 2, 4, 64))
        action = rng.randrange(6)
        if action == 0:
            data[position] ^= 1 << rng.randrange(8)
        elif action == 1:
            data[position : position + length] = rng.randbytes(length)
        elif action == 2:
            data[position : position + length] = rng.choice((b"\0", b"\xff", b"\x80")) * length
        elif action == 3:
            data[position:position] = data[position : position + length]
        elif action == 4:
            del data[position : position + length]
        elif rng.random() < 0.3:
            del data[position:]
    return bytes(data)


def mutate_text(rng: Random, text: str) -> bytes:
    """Insert odd characters and lines, or change bytes so that the text may not be UTF-8 any more."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        position = rng.randrange(len(text) + 1)
        text = text[:position] + rng.choice(TEXTS) + text[position:]
    data = text.encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, data) if rng.random() < 0.2 else data


def mutate_image(rng: Random, data: bytes) -> bytes:
    """Change an image file behind its signature; the checksums and lengths of PNG and JPEG parts stay right."""
    if data.startswith(b"\x89PNG") and rng.random() < 0.9:
        return _mutate_png(rng, data)
    if data.startswith(b"\xff\xd8") and rng.random() < 0.7:
        return _mutate_jpeg(rng, data)
    return mutate_bytes(rng, data, start=12)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split a PNG into its chunks, (type, content)."""
    chunks, position = [], 8
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def write_png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Join chunks to a PNG with right checksums."""
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _mutate_png(rng: Random, data: bytes) -> bytes:
    chunks = png_chunks(data)
    for _ in range(rng.choice((1, 1, 2))):
        index = rng.randrange(len(chunks))
        kind, content = chunks[index]
        action = rng.randrange(7)
        if action == 0:
            del chunks[index]
        elif action == 1:
            chunks.insert(index, chunks[rng.randrange(len(chunks))])
        elif action == 2:
            odd = rng.choice((b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"gAMA", b"pHYs", b"zTXt", b"iTXt", b"acTL", b"fcTL"))
            chunks.insert(rng.randrange(1, len(chunks) + 1), (odd, rng.randbytes(rng.choice((0, 1, 4, 8, 26, 300)))))
        elif action == 3 and kind == b"IDAT":
            try:
                content = zlib.compress(mutate_bytes(rng, zlib.decompress(content)))
            except zlib.error:
                content = mutate_bytes(rng, content)
            chunks[index] = kind, content
        elif action == 4 and kind == b"IHDR":
            fields = list(struct.unpack(">IIBBBBB", content[:13].ljust(13, b"\0")))
            position = rng.randrange(7)
            fields[position] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 17, 200)) if position > 1 else rng.choice(
                (0, 1, 15, 17, 400, 9000, 2**31 - 1, 2**32 - 1)
            )  # fmt: skip
            chunks[index] = kind, struct.pack(">IIBBBBB", *fields)
        else:
            chunks[index] = kind, mutate_bytes(rng, content)
        if not chunks:
            break
    return write_png(chunks)


def _mutate_jpeg(rng: Random, data: bytes) -> bytes:
    """Change the content of one segment before the image data."""
    segments, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        length = struct.unpack(">H", data[position + 2 : position + 4])[0]
        segments.append((position + 4, position + 2 + length))
        position += 2 + length
    if not segments:
        return mutate_bytes(rng, data, start=2)
    start, end = rng.choice(segments)
    changed = mutate_bytes(rng, data[start:end])[: end - start].ljust(end - start, b"\0")
    return data[:start] + changed + data[end:]
