"""Import LoRA files, and the embeddings bundled in them, that other programs made: safe loaders, every key checked."""

import re
from dataclasses import replace
from pathlib import Path

import torch

from breakascene.data import validation
from breakascene.errors import UserError
from breakascene.exporting.diffusers_format import DIFFERENCES
from breakascene.exporting.keys import known_prefixes
from breakascene.models import lora
from breakascene.models.base import Base
from breakascene.models.loading import PICKLES
from breakascene.models.lora import ExternalLora, WeightDelta

_ROLES = re.compile(
    r"(?P<prefix>.+?)(?:"
    r"(?P<down>\.lora_down\.weight|\.lora_A\.weight|\.lora(?:_linear_layer)?\.down\.weight|(?<=_lora)\.down\.weight)"
    r"|(?P<up>\.lora_up\.weight|\.lora_B\.weight|\.lora(?:_linear_layer)?\.up\.weight|(?<=_lora)\.up\.weight)"
    r"|(?P<alpha>\.alpha)|(?P<diff_b>\.diff_b)|(?P<diff>\.diff))"
)
# Parts of keys that other kinds of adapters have
_UNSUPPORTED = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lora_mid": "Tucker-decomposed LoRA",
    "glora": "GLoRA",
}
_VERSIONS = (("sdxl", "Stable Diffusion XL"), ("sd_v2", "Stable Diffusion 2"), ("sd_v1", "Stable Diffusion 1"))


def load_lora(file: Path | str, base: Base, scale: float = 1.0) -> ExternalLora:
    """Read a LoRA in kohya's or diffusers' format for a base.

    Args:
        file: A .safetensors file, or a folder that `export` wrote, with its embeddings and weight differences.
        base: The base that it will be applied to.
        scale: Strength; 1 is that of the training.

    Raises:
        UserError: If the file is not a LoRA in a supported format, is damaged, or was made for another kind of base.
    """
    file = Path(file)
    if file.is_dir():
        return _load_folder(file, base, scale)
    tensors, metadata = _read(file)
    bundle = {key: value for key, value in tensors.items() if key.startswith("bundle_emb.")}
    tensors = {key: value for key, value in tensors.items() if key not in bundle}
    layers = _by_layer(file, tensors, base, metadata)
    delta: WeightDelta = {}
    for (component, layer), parts in layers.items():
        name = f"{component}.{layer}"
        if {"down", "up", "alpha"} & parts.keys():
            scalar = "alpha" not in parts or parts["alpha"].numel() == 1
            matrices = {"down", "up"} <= parts.keys() and min(parts["down"].ndim, parts["up"].ndim) >= 2
            if not matrices or "diff" in parts or not scalar:
                raise UserError("{file} is incomplete at {name}: download it again.", file=file.name, name=name)
            a, b = parts["down"].flatten(1), parts["up"].flatten(1)
            alpha = parts["alpha"].item() if "alpha" in parts else len(a)
            delta[f"{name}.weight.A"], delta[f"{name}.weight.B"] = a, b * (scale * alpha / max(len(a), 1))
        for role, parameter in (("diff", "weight"), ("diff_b", "bias")):
            if role in parts:
                delta[f"{name}.{parameter}.diff"] = parts[role] * scale
    for key in delta:
        _check_shape(file, base, delta, key, metadata)
    lora.check_scale(base, delta)
    return ExternalLora(file.stem, scale, delta, _bundled(file, base, bundle))


def _load_folder(folder: Path, base: Base, scale: float) -> ExternalLora:
    """Read an exported folder: the LoRA, the differences beside it, and the embeddings of the handles."""
    files = [file for file in sorted(folder.glob("*.safetensors")) if file.name != DIFFERENCES]
    if len(files) != 1:
        raise UserError("{folder} is not an exported folder: give a LoRA file, or a folder that export wrote.",
                        folder=str(folder))  # fmt: skip
    loaded = load_lora(files[0], base, scale)
    delta = dict(loaded.delta)
    if (file := folder / DIFFERENCES).is_file():
        differences, metadata = _read(file)
        delta |= {f"{name}.diff": value * scale for name, value in differences.items()}
        for name in differences:
            _check_shape(file, base, delta, f"{name}.diff", metadata)
        lora.check_scale(base, delta)
    embeddings = dict(load_embedding(file, base) for file in sorted((folder / "embeddings").glob("*.safetensors")))
    return replace(loaded, name=folder.name, delta=delta, embeddings={**loaded.embeddings, **embeddings})


def load_embedding(file: Path | str, base: Base) -> tuple[str, torch.Tensor]:
    """Read a textual inversion of one vector: its name, from the file name, and its embedding (D,).

    Raises:
        UserError: If the file is not such an embedding, is damaged, or was made for another kind of base.
    """
    file = Path(file)
    tensors, _ = _read(file)
    return _checked_name(file, file.stem), _embedding(file, base, tensors)


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if file.suffix.lower() in PICKLES:
        raise UserError(
            "{file} is a pickle, which can run code when it is read: convert it to .safetensors.", file=file.name
        )
    if not file.is_file():
        raise UserError("There is no file {file}: check the path.", file=str(file))
    try:
        tensors, metadata = validation.read_tensors(file)
    except (OSError, ValueError) as error:
        raise UserError(
            "{file} is not a .safetensors file or is damaged: download it again.", file=file.name
        ) from error
    if not all(value.is_floating_point() or key.endswith(".alpha") for key, value in tensors.items()):
        raise UserError("{file} has values that are not floating-point numbers: use another file.", file=file.name)
    tensors = {key: value.float() for key, value in tensors.items()}
    if not all(value.isfinite().all() for value in tensors.values()):
        raise UserError("{file} has values that are not finite: use another file.", file=file.name)
    return tensors, metadata


def _by_layer(file: Path, tensors: dict, base: Base, metadata: dict) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Group the tensors by layer and role. Raises UserError at the first key that the base has no layer for."""
    known, layers = known_prefixes(base), {}
    for key, value in tensors.items():
        for part, kind in _UNSUPPORTED.items():
            if part in key:
                raise UserError(
                    "{file} is a {kind}, which is not supported: use a plain LoRA.", file=file.name, kind=kind
                )
        match = _ROLES.fullmatch(key)
        if match is None:
            raise UserError(
                "{file} is not a LoRA, it has the key {key}: use a LoRA for Stable Diffusion.",
                file=file.name, key=key[:80],
            )  # fmt: skip
        if match["prefix"] not in known:
            raise _does_not_fit(file, base, metadata, f"no layer {match['prefix'][:80]}")
        parts = layers.setdefault(known[match["prefix"]], {})
        if match.lastgroup in parts:
            raise UserError(
                "{file} has two values for {layer}: download it again.", file=file.name, layer=match["prefix"][:80]
            )
        parts[match.lastgroup] = value
    if not layers:
        raise UserError("{file} has no LoRA in it: use a LoRA for Stable Diffusion.", file=file.name)
    return layers


def _check_shape(file: Path, base: Base, delta: WeightDelta, key: str, metadata: dict) -> None:
    name, _, kind = key.rpartition(".")
    shape = base.weight_shapes.get(name)
    if shape is None:
        raise _does_not_fit(file, base, metadata, f"no {name}")
    if kind == "diff":
        fits = delta[key].shape == shape
    elif kind == "A":
        fits = delta[key].shape == (delta[f"{name}.B"].shape[1], shape[1:].numel())
    else:
        fits = len(delta[key]) == shape[0]
    if not fits:
        raise _does_not_fit(file, base, metadata, f"another size of {name}")


def _does_not_fit(file: Path, base: Base, metadata: dict, reason: str) -> UserError:
    version = str(metadata.get("ss_base_model_version", ""))
    made_for = next((model for start, model in _VERSIONS if version.startswith(start)), "")
    if made_for:
        return UserError(
            "{file} does not fit {base} (it was made for {model}), which has {reason}: use a LoRA for this kind of "
            "base.",
            file=file.name, base=base.name, model=made_for, reason=reason,
        )  # fmt: skip
    return UserError(
        "{file} does not fit {base}, which has {reason}: use a LoRA for this kind of base.",
        file=file.name, base=base.name, reason=reason,
    )  # fmt: skip


def _bundled(file: Path, base: Base, bundle: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read the embeddings of an A1111 bundle by name."""
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in bundle.items():
        _, name, part = [*key.split(".", 2), ""][:3]
        grouped.setdefault(name, {})[part] = value
    return {_checked_name(file, name): _embedding(file, base, tensors) for name, tensors in grouped.items()}


def _checked_name(file: Path, name: str) -> str:
    """Return the name of an embedding if a prompt can refer to it as <name>. Raises UserError."""
    if not re.fullmatch(r"[^<>]{1,80}", name) or not name.isprintable() or name != name.strip():
        raise UserError(
            '{file} has an embedding named "{name}", which no prompt can refer to: rename it.',
            file=file.name, name=name[:80],
        )  # fmt: skip
    return name


def _embedding(file: Path, base: Base, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    vectors = [tensors.get("clip_l"), tensors.get("clip_g")] if base.is_sdxl else list(tensors.values())
    dims = [encoder.embedding_dim for encoder in base.encoders]
    if len(tensors) != len(dims) or any(vector is None for vector in vectors):
        raise UserError(
            "{file} is not an embedding for {base}: use one for this kind of base.", file=file.name, base=base.name
        )
    vectors = [vector.reshape(1, -1) if vector.ndim == 1 else vector for vector in vectors]
    if [tuple(vector.shape) for vector in vectors] != [(1, dim) for dim in dims]:
        raise UserError(
            "{file} does not fit {base}: use an embedding of one vector for this kind of base.",
            file=file.name, base=base.name,
        )  # fmt: skip
    return torch.cat(vectors, 1)[0]
