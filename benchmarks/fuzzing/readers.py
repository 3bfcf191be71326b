"""Fuzz targets: every reader of files, and what uses the values that it accepts."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks.fuzzing.case import Case, is_safetensors, still_opens
from benchmarks.fuzzing.images import mask, metadata, photo, scene_folder
from benchmarks.fuzzing.inputs import scene, settings
from benchmarks.fuzzing.mutations import (
    json_text,
    mutate_bytes,
    mutate_image,
    mutate_json,
    mutate_safetensors,
    mutate_text,
)
from breakascene.cli.options import read_prompts
from breakascene.data.scene import load_scene
from breakascene.evaluation.judges import load_feature_extractor
from breakascene.exporting import archive
from breakascene.exporting.importing import load_embedding, load_lora
from breakascene.generation.generate import generate
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.paths import cache_folder
from breakascene.segmentation.segmenter import Segmenter
from breakascene.training import checkpoint
from breakascene.training.loop import run_extraction
from breakascene.training.prior import prior_latents
from breakascene.training.settings import Settings

PROMPT = "a photo of <asset0>"


@cache
def base(folder: Path):
    """The unchanged small base of the inputs."""
    return load_base(folder / "base", "cpu")


def draw(model, concepts=None, loras=()) -> None:
    """Generate an image in one step."""
    prompt = PROMPT if concepts else "a photo"
    list(generate(model, concepts, [prompt], num_inference_steps=1, loras=loras))


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


def mutate_file(rng: Random, paths: Sequence[Path]) -> Path:
    """Change one of the JSON and safetensors files of a model; return its path."""
    path = rng.choice(paths)
    if path.suffix == ".json":
        path.write_text(json_text(rng, json.loads(path.read_text())), encoding="utf-8", errors="surrogatepass")
    else:
        mutate_safetensors(rng, path, {"format": "pt"})
    return path


def base_folder(rng: Random, inputs: Path, folder: Path) -> Case:
    target = folder / "base"
    shutil.copytree(inputs / "base", target)
    path = mutate_file(rng, [target / "model_index.json", *sorted(target.rglob("*.*"))])
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
    path = mutate_file(rng, sorted(target.iterdir()))

    def act():
        Segmenter.load(str(target)).predict([(30, 50)], [True], None, Image.open(inputs / "photo.png"))

    return Case(act, lambda: still_opens(path))


def feature_extractor(rng: Random, inputs: Path, folder: Path) -> Case:
    target = folder / "clip"
    shutil.copytree(inputs / "clip", target)
    path = mutate_file(rng, sorted(target.iterdir()))

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


# --- Texts


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
