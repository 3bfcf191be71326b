"""Export concepts to other programs: a LoRA file, embeddings, and a README with prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError, system_reason
from breakascene.exporting import diffusers_format, embeddings, kohya, readme
from breakascene.files import atomic_folder, require_empty, require_writable
from breakascene.generation.generate import generate
from breakascene.models import lora
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import GroupedConcepts
from breakascene.provenance import audit
from breakascene.provenance.credentials import png_bytes

TARGETS = tuple(readme.PROGRAMS)


@dataclass(frozen=True)
class Exported:
    """The result of an export."""

    folder: Path
    lora: Path  # the LoRA file
    tokens: dict[str, str]  # handle → how a prompt of the program refers to it
    left_out: tuple[str, ...]  # names of the weights that the program cannot take


def export(
    concepts: Concepts, base: Base, to: str, out: Path | str, *, num_inference_steps: int = 20, seed: int = 0
) -> Exported:
    """Write a folder for another program, atomically.

    Every key is checked against the program's key map before anything is written, so none is dropped silently there.
    The folder holds the LoRA file, embeddings/ with one file for each handle, README.md with three prompts, and
    images/ with images generated from them.

    Args:
        concepts: The concepts to export.
        base: The base that they were extracted on.
        to: "kohya", "diffusers", "comfyui" or "a1111".
        out: A new or empty folder.
        num_inference_steps: Denoising steps of the images.
        seed: Seed of the images.

    Raises:
        UserError: For an unknown program, a base that the program cannot open, concepts of another base, invalid
            weights, or a folder that has other files or cannot be written.
    """
    # 1. Check the inputs
    out = Path(out)
    _check(concepts, base, to, out)

    # 2. Convert and check the keys
    names = embeddings.token_names(concepts)
    title = "-".join([*(name.rpartition("-")[0] for name in names if not name.startswith("background-")), ""])
    title = f"{title[:60]}{concepts.id[:4]}"
    differences, left_out = {}, []
    if to == "diffusers":
        title = Path(diffusers_format.FILE).stem
        tensors, differences = diffusers_format.state_dicts(base, concepts)
        unknown = diffusers_format.unknown_keys(base, list(tensors))
    else:
        tensors, left_out = kohya.state_dict(base, concepts, to)
        unknown = kohya.unknown_keys(base, list(tensors), to)
    if unknown:
        raise UserError(f"{readme.PROGRAMS[to]} would drop {unknown[0]}: choose another program.")

    # 3. Generate the example images
    prompts = example_prompts(concepts.handles)
    images = list(
        generate(base, concepts, prompts, same_seeds=True, num_inference_steps=num_inference_steps, seed=seed)
    )

    # 4. Write the folder
    metadata = {"format": "pt"}
    if to != "diffusers":
        metadata |= kohya.metadata(base, concepts, title, tensors, images[0].image)
    pictures = [png_bytes(image.image, photo=concepts.photo) for image in images]
    hashes = [audit.hash_of_bytes(picture) for picture in pictures]
    audit.record("export", run=concepts.id, photo=concepts.photo, program=to, images=hashes)
    try:
        with atomic_folder(out) as draft:
            save_file(tensors, draft / f"{title}.safetensors", metadata)
            if differences:
                save_file(differences, draft / diffusers_format.DIFFERENCES, {"format": "pt"})
            (draft / "embeddings").mkdir()
            for name, embedding in zip(names, concepts.embeddings, strict=True):
                key = f"<{name}>" if to == "diffusers" else "emb_params"
                values = embeddings.state_dict(base, embedding, key)
                save_file(values, draft / "embeddings" / f"{name}.safetensors", {"format": "pt"})
            (draft / "images").mkdir()
            for i, picture in enumerate(pictures):
                (draft / "images" / f"{i}.png").write_bytes(picture)
            text = readme.text(to, base, concepts, names, title, images, left_out, bool(differences))
            (draft / "README.md").write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write to {out} ({system_reason(error)}): choose another place.") from error
    tokens = {handle: readme.spelling(to, name) for handle, name in zip(concepts.handles, names, strict=True)}
    return Exported(out, out / f"{title}.safetensors", tokens, tuple(left_out))


def example_prompts(handles: Sequence[str]) -> list[str]:
    """Return three prompts that use the handles."""
    objects = [handle for handle in handles if handle != BACKGROUND]
    first, last = (objects[0], objects[-1]) if objects else (BACKGROUND, BACKGROUND)
    together = f"{first} and {last}" if first != last else first
    return [
        f"a photo of {first} at the beach",
        f"a photo of {last} in the snow",
        f"a photo of {together} on the grass",
    ]


def can_open(to: str, base: Base) -> bool:
    """Whether the program has a model of the base's architecture; ComfyUI and A1111 do not have the toybox's."""
    return base.family != "toybox" or to in ("kohya", "diffusers")


def _check(concepts: Concepts | GroupedConcepts, base: Base, to: str, out: Path) -> None:
    if isinstance(concepts, GroupedConcepts):
        raise UserError(
            "Objects that were learned in groups cannot be exported, because other programs apply a LoRA to the whole "
            "image: extract those that you need, at most eight, in a run of their own."
        )
    if to not in TARGETS:
        raise UserError(f'There is no export to "{to}": choose {", ".join(TARGETS[:-1])} or {TARGETS[-1]}.')
    if not can_open(to, base):
        raise UserError(
            "{program} cannot open the toybox: export to diffusers, or extract on Stable Diffusion.",
            program=readme.PROGRAMS[to],
        )
    fits = lora.delta_fits(base, concepts.delta) and concepts.embeddings.shape[1] == base.embedding_dim
    if base.fingerprint == concepts.fingerprint and not fits:
        raise UserError("The weights of this run do not fit its base: extract again.")
    with concepts.applied(base):  # raises UserError for another base
        pass
    if not any(key.endswith(".A") for key in concepts.delta):
        raise UserError("This run has trained no weights that a LoRA can hold: resume it through phase 2, then export.")
    if not all(tensor.isfinite().all() for tensor in (concepts.embeddings, *concepts.delta.values())):
        raise UserError("This run has values that are not finite: extract again.")
    require_empty(require_writable(out, "folder"))
