"""Fuzz targets: photos, masks, scene folders, and images with metadata."""

import io
import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from benchmarks.fuzzing.case import Case, is_image
from benchmarks.fuzzing.mutations import json_text, mutate_bytes, mutate_image, mutate_text, png_chunks, write_png
from breakascene.data.image_io import FORMATS, read_mask, read_masks, read_photo
from breakascene.data.scene import load_scene, make_scene, save_scene
from breakascene.generation.generate import KEY, read_metadata, readable_prompt
from breakascene.studio.state import gallery

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F", "PA", "La", "RGBX")


def image_file(rng: Random, path: Path) -> None:
    """Write an image of a random kind, size and format; mostly it is then changed inside."""
    size = rng.choice(((64, 64), (64, 64), (96, 64), (20, 300), (1, 1), (16, 16), (640, 400)))
    noise = np.random.default_rng(rng.randrange(2**32))
    image = Image.fromarray(noise.integers(0, 256, (*size[::-1], 3), np.uint8)).resize(size)
    if rng.random() < 0.5:
        image.paste((250, 250, 250), (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    mode, kind = rng.choice(MODES), rng.choice(FORMATS)
    data = _encoded(rng, image, mode, kind) or _encoded(rng, image, "RGB", kind)
    path.write_bytes(data if rng.random() < 0.15 else mutate_image(rng, data))


def _encoded(rng: Random, image: Image.Image, mode: str, kind: str) -> bytes | None:
    """Encode an image with random metadata; None if the format cannot hold the mode."""
    exif, options, stream = Image.Exif(), {}, io.BytesIO()
    exif[0x0112] = rng.choice((0, 1, 3, 5, 6, 8, 9, 65535))
    if rng.random() < 0.5:
        options["exif"] = exif.tobytes()
    if rng.random() < 0.2:
        options["icc_profile"] = rng.randbytes(200)
    if mode == "P" and rng.random() < 0.5:
        options["transparency"] = rng.choice((0, 255, bytes(range(7))))
    if kind in ("GIF", "WEBP", "TIFF", "PNG") and rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [image.convert("L")] * 2}
    try:
        image.convert(mode).save(stream, kind, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SystemError):
        return None
    return stream.getvalue()


def photo(rng: Random, inputs: Path, folder: Path) -> Case:
    path = folder / "photo.png"
    image_file(rng, path)

    def act():
        image = read_photo(path)
        mask = np.zeros(image.size[::-1], bool)
        mask[: image.height // 2, : image.width // 2] = True
        make_scene(image, [mask], ["ball"], background=True).square_crop(64)

    return Case(act, lambda: is_image(path))


def mask(rng: Random, inputs: Path, folder: Path) -> Case:
    path, source = folder / "mask.png", rng.choice(("ball.png", "labels.png", ""))
    if source:
        data = (inputs / source).read_bytes()
        path.write_bytes(data if rng.random() < 0.1 else mutate_image(rng, data))
    else:
        image_file(rng, path)
    image = read_photo(inputs / "photo.png")
    size = image.size if source else rng.choice(((64, 64), (96, 64), (640, 400)))
    label = rng.choice(("", "", "", "", "", "", "#1", "#", "#ff0000", "#-1", "#9" * 30))

    def act():
        read_masks(path, size, image if source else None)
        read_mask(f"{path}{label}", size, image if source else None)

    return Case(act, lambda: is_image(path))


def scene_folder(rng: Random, inputs: Path, folder: Path) -> Case:
    target = folder / "scene"
    shutil.copytree(inputs / "scene", target)
    names = target / "names.txt"
    if rng.random() < 0.5:
        names.write_bytes(mutate_text(rng, names.read_text()))
    else:
        path = rng.choice(sorted(target.iterdir()))
        action = rng.randrange(4)
        if action == 0:
            path.rename(target / rng.choice(("mask7.png", "mask99999999999999999999.png", "img.jpg", "mask²٣.png")))
        elif action == 1:
            path.unlink()
            path.mkdir()
        elif path.suffix == ".png":
            path.write_bytes(mutate_image(rng, path.read_bytes()))
        else:
            path.write_bytes(mutate_bytes(rng, path.read_bytes()))

    def act():
        save_scene(load_scene(target), folder / "saved")
        shutil.rmtree(folder / "saved")

    return Case(act, names.is_file)


def metadata(rng: Random, inputs: Path, folder: Path) -> Case:
    path = folder / "image.png"
    chunks = png_chunks((inputs / "generated.png").read_bytes())
    index = next(i for i, (kind, content) in enumerate(chunks) if kind == b"tEXt" and content.startswith(KEY.encode()))
    if rng.random() < 0.8:
        text = json_text(rng, json.loads(chunks[index][1].partition(b"\0")[2]))
        chunks[index] = b"tEXt", KEY.encode() + b"\0" + text.encode("latin-1", "replace")
        path.write_bytes(write_png(chunks))
    else:
        path.write_bytes(mutate_image(rng, write_png(chunks)))

    def act():
        values = read_metadata(path)
        readable_prompt(values), gallery.image_seed(values), gallery.differences([values, values])
        json.dumps(values, allow_nan=False)

    return Case(act, lambda: is_image(path))
