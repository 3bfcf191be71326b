"""Fuzz targets: every reader of files, and what uses the values that it accepts."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks.fuzz_inputs import scene, settings
from benchmarks.fuzz_mutations import (
    json_text,
    mutate_bytes,
    mutate_image,
    mutate_json,
    mutate_safetensors,
    mutate_text,
    png_chunks,
    write_png,
)
from breakascene.cli.options import read_prompts
from breakascene.data.image_io import FORMATS, read_mask, read_masks, read_photo
from breakascene.data.scene import load_scene, make_scene, save_scene
from breakascene.evaluation.metrics import load_feature_extractor
from breakascene.exporting import archive
from breakascene.exporting.importing import load_embedding, load_lora
from breakascene.generation.generate import KEY, generate, read_metadata
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.paths import cache_folder
from breakascene.segmentation.segmenter import Segmenter
from breakascene.training import checkpoint
from breakascene.training.loop import run_extraction
from breakascene.training.prior import prior_latents
from breakascene.training.settings import Settings

PROMPT = "a photo of <asset0>"
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F", "PA", "La", "RGBX")


@dataclass(frozen=True)
class Case:
    """One mutated input.

    Attributes:
        act: Reads the input and uses what was read.
        passes_first_check: Whether the file still opens as what it should be: an image, JSON, a zip, ….
        refusals: Errors besides UserError that the reader documents.
    """

    act: Callable[[], object]
    passes_first_check: Callable[[], object] = lambda: True
    refusals: tuple[type[Exception], ...] = ()


@cache
def base(folder: Path):
    """The unchanged small base of the inputs."""
    return load_base(folder / "base", "cpu")


def draw(model, concepts=None, loras=()) -> None:
    """Generate an image in one step."""
    prompt = PROMPT if concepts else "a photo"
    list(generate(model, concepts, [prompt], num_inference_steps=1, loras=loras))


# --- First checks


def is_image(path: Path) -> bool:
    Image.open(path, formats=FORMATS).close()
    return True


def is_json(path: Path) -> bool:
    json.loads(path.read_text(encoding="utf-8"))
    return True


def is_safetensors(path: Path) -> bool:
    with safe_open(path, "pt") as file:
        return bool(file.keys())


# --- Photos and masks


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


# --- Runs, run files and checkpoints


def mutate_run(rng: Random, folder: Path) -> Path:
    """Change one file of a run folder; return its path."""
    path = folder / rng.choice(
        ("manifest.json", "manifest.json", "concepts.safetensors", "losses.json", "scene/names.txt", "scene/mask0.png")
    )
    if path.suffix == ".json":
        text = json_text(rng, json.loads(path.read_text()))
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    elif path.suffix == ".safetensors":
        mutate_safetensors(rng, path)
    elif path.suffix == ".txt":
        path.write_bytes(mutate_text(rng, path.read_text()))
    else:
        path.write_bytes(mutate_image(rng, path.read_bytes()))
    return path


def still_opens(path: Path) -> bool:
    check = {".json": is_json, ".safetensors": is_safetensors, ".png": is_image}.get(path.suffix, Path.is_file)
    return check(path)


def run_folder(rng: Random, inputs: Path, folder: Path) -> Case:
    shutil.copytree(inputs / "run", folder / "run")
    changed = mutate_run(rng, folder / "run")

    def act():
        concepts = Concepts.load(folder / "run")
        load_scene(folder / "run" / "scene")
        draw(base(inputs), concepts)

    return Case(act, lambda: still_opens(changed))


def run_file(rng: Random, inputs: Path, folder: Path) -> Case:
    run, path = folder / "source", folder / "run.zip"
    shutil.copytree(inputs / "run", run)
    mutate_run(rng, run)
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))) as file:
        for source in sorted(run.rglob("*.*")):
            name = source.relative_to(run).as_posix()
            if rng.random() < 0.02:
                name = rng.choice(("../out", "/etc/x", "scene/../../x", "scene\\img.png", "a" * 300, "manifest.json"))
            file.write(source, name)
    shutil.rmtree(run)
    if rng.random() < 0.2:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))

    def act():
        concepts = archive.unpack(path, base(inputs), folder / "imported")
        draw(base(inputs), concepts)

    return Case(act, lambda: zipfile.ZipFile(path).close() or True)


def checkpoint_file(rng: Random, inputs: Path, folder: Path) -> Case:
    source = checkpoint.path_for(inputs / "stopped")
    path = checkpoint.path_for(folder / "run")
    shutil.copy(source, path)
    with safe_open(path, "pt") as file:
        header = file.metadata()["checkpoint"]
    if rng.random() < 0.5:
        header = json_text(rng, json.loads(header)).encode("utf-8", "replace").decode()
        save_file(load_file(path), path, {"checkpoint": header})
    else:
        mutate_safetensors(rng, path, {"checkpoint": header})

    def act():
        run_extraction(scene(), base(inputs), settings(base(inputs)), folder / "run", resume=True)

    return Case(act, lambda: is_safetensors(path))


def settings_json(rng: Random, inputs: Path, folder: Path) -> Case:
    values = mutate_json(rng, settings(base(inputs)).to_json())

    def act():
        json.dumps(Settings.from_json(values).to_json(), allow_nan=False)

    return Case(act, lambda: isinstance(values, dict), (ValueError,))


# --- Models


def base_folder(rng: Random, inputs: Path, folder: Path) -> Case:
    target = folder / "base"
    shutil.copytree(inputs / "base", target)
    path = rng.choice([target / "model_index.json", *sorted(target.rglob("*.*"))])
    if path.suffix == ".json":
        path.write_text(json_text(rng, json.loads(path.read_text())), encoding="utf-8", errors="surrogatepass")
    else:
        mutate_safetensors(rng, path, {"format": "pt"})
    return Case(lambda: draw(load_base(target, "cpu")), lambda: still_opens(path))


def lora_file(rng: Random, inputs: Path, folder: Path) -> Case:
    path = folder / "lora.safetensors"
    shutil.copy(inputs / rng.choice(("kohya.safetensors", "diffusers.safetensors")), path)
    mutate_safetensors(rng, path, {"ss_base_model_version": rng.choice(("sd_v1", "", "x" * 9999))})
    scale = rng.choice((1.0, 0.0, -10.0, 10.0))

    def act():
        draw(base(inputs), loras=[load_lora(path, base(inputs), scale)])

    return Case(act, lambda: is_safetensors(path))


def embedding_file(rng: Random, inputs: Path, folder: Path) -> Case:
    path = folder / "cup.safetensors"
    shutil.copy(inputs / "embedding.safetensors", path)
    mutate_safetensors(rng, path)
    return Case(lambda: load_embedding(path, base(inputs)), lambda: is_safetensors(path))


def segmenter_files(rng: Random, inputs: Path, folder: Path) -> Case:
    if rng.random() < 0.3:
        path = folder / "sam.pth"
        path.write_bytes(mutate_bytes(rng, (inputs / "sam.pth").read_bytes(), start=4))
        return Case(lambda: Segmenter.load(str(path)), lambda: zipfile.ZipFile(path).close() or True)
    target = folder / "sam"
    shutil.copytree(inputs / "sam", target)
    path = rng.choice(sorted(target.iterdir()))
    if path.suffix == ".json":
        path.write_text(json_text(rng, json.loads(path.read_text())), encoding="utf-8", errors="surrogatepass")
    else:
        mutate_safetensors(rng, path)

    def act():
        Segmenter.load(str(target)).predict([(30, 50)], [True], None, Image.open(inputs / "photo.png"))

    return Case(act, lambda: still_opens(path))


def feature_extractor(rng: Random, inputs: Path, folder: Path) -> Case:
    target = folder / "clip"
    shutil.copytree(inputs / "clip", target)
    path = rng.choice(sorted(target.iterdir()))
    if path.suffix == ".json":
        path.write_text(json_text(rng, json.loads(path.read_text())), encoding="utf-8", errors="surrogatepass")
    else:
        mutate_safetensors(rng, path, {"format": "pt"})

    def act():
        extractor = load_feature_extractor(str(target))
        extractor.encode_images([Image.open(inputs / "photo.png")])
        if extractor.encode_texts:
            extractor.encode_texts(["a photo"])

    return Case(act, lambda: still_opens(path))


def prior_cache(rng: Random, inputs: Path, folder: Path) -> Case:
    """A damaged cache is no reason to refuse anything: the images are generated again."""
    for path in cache_folder().glob("prior-*"):
        path.unlink()
    prior_latents(base(inputs), 2)
    (path,) = cache_folder().glob("prior-*")
    mutate_safetensors(rng, path)

    def act():
        prior = prior_latents(base(inputs), 2)
        assert prior.latents.shape == (2, 8, 8, 8) and prior.latents.isfinite().all()

    return Case(act, lambda: is_safetensors(path))


# --- Texts and images with metadata


def metadata(rng: Random, inputs: Path, folder: Path) -> Case:
    from breakascene.studio.state import gallery

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
        gallery.readable_prompt(values), gallery.image_seed(values), gallery.differences([values, values])
        json.dumps(values, allow_nan=False)

    return Case(act, lambda: is_image(path))


def prompts_file(rng: Random, inputs: Path, folder: Path) -> Case:
    path = folder / "prompts.txt"
    path.write_bytes(mutate_text(rng, (inputs / "prompts.txt").read_text()))

    def act():
        concepts = Concepts.load(inputs / "run")
        list(generate(base(inputs), concepts, read_prompts(path), num_inference_steps=1))

    return Case(act)


READERS = {
    "photo": photo,
    "mask": mask,
    "scene folder": scene_folder,
    "run folder": run_folder,
    "run file": run_file,
    "checkpoint": checkpoint_file,
    "settings": settings_json,
    "base": base_folder,
    "LoRA": lora_file,
    "embedding": embedding_file,
    "segmenter": segmenter_files,
    "feature extractor": feature_extractor,
    "prior cache": prior_cache,
    "metadata": metadata,
    "prompts": prompts_file,
}
