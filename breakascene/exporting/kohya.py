"""LoRA files in kohya's format, for ComfyUI, A1111 and Forge, InvokeAI, SD.Next and diffusers."""

import base64
import io
import json

import torch
from PIL import Image

from breakascene.exporting import embeddings
from breakascene.exporting.keys import accepts_lora, kohya_prefix, layers, split_name
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.lora import WeightDelta

ARCHITECTURES = {  # base model version of kohya and architecture of the model spec
    "sd1": ("sd_v1", "stable-diffusion-v1"),
    "sd2": ("sd_v2", "stable-diffusion-v2"),
    "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
}
THUMBNAIL_SIZE = 256


def model_version(base: Base) -> str:
    """Return "sd1", "sd2" or "sdxl", by the architecture."""
    if base.is_sdxl:
        return "sdxl"
    return "sd2" if base.text_encoder.config.hidden_act == "gelu" else "sd1"  # SD 2 has OpenCLIP's text encoder


def state_dict(base: Base, concepts: Concepts, target: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors of a LoRA file, and the names of the weights that the target cannot take.

    Args:
        base: The base of the concepts.
        concepts: Their weight delta is converted.
        target: "kohya" takes factors alone; "comfyui" also biases and norms of the UNet and biases of the text
            encoders' linear layers; "a1111" also norms of the UNet, and the embeddings as a bundle.
    """
    tensors, left_out = {}, []
    for name, factors in uniform_rank(concepts.delta).items():
        component, layer, _ = split_name(name)
        if not accepts_lora(component, layer):
            left_out.append(name)
            continue
        prefix, (down, up) = kohya_prefix(base, component, layer), factors_in_shape(base, name, *factors)
        tensors[f"{prefix}.lora_down.weight"], tensors[f"{prefix}.lora_up.weight"] = down, up
        tensors[f"{prefix}.alpha"] = torch.tensor(float(len(down)))
    for key, value in concepts.delta.items():
        name, _, kind = key.rpartition(".")
        component, layer, parameter = split_name(name)
        if kind != "diff":
            continue
        alone = target == "a1111" and f"{component}.{layer}.weight.diff" not in concepts.delta  # dropped without .diff
        if alone or not _accepts_diff(target, component, layer):
            left_out.append(name)
            continue
        suffix = "diff" if parameter == "weight" else "diff_b"
        tensors[f"{kohya_prefix(base, component, layer)}.{suffix}"] = value.clone()
    if target == "a1111":
        tensors |= embeddings.bundle(base, concepts)
    return tensors, left_out


def unknown_keys(base: Base, keys: list[str], target: str) -> list[str]:
    """Return the keys that the target would drop: those that the key map of the program does not have."""
    known = set()
    for component, layer in layers(base):
        prefix = kohya_prefix(base, component, layer)
        if accepts_lora(component, layer):
            known |= {f"{prefix}.lora_down.weight", f"{prefix}.lora_up.weight", f"{prefix}.alpha"}
        if _accepts_diff(target, component, layer):
            known |= {f"{prefix}.diff", f"{prefix}.diff_b"}
    return [key for key in keys if key not in known and not (target == "a1111" and key.startswith("bundle_emb."))]


def metadata(base: Base, concepts: Concepts, title: str, tensors: dict, image: Image.Image) -> dict[str, str]:
    """Return the metadata of a LoRA file: kohya's (ss_…) and that of the Stability model spec (modelspec.…)."""
    version = model_version(base)
    factors = [value for key, value in tensors.items() if key.endswith(".lora_down.weight")]
    rank, has_convolutions = max(map(len, factors)), any(factor.shape[2:].numel() > 1 for factor in factors)
    kohya_version, architecture = ARCHITECTURES[version]
    if version == "sd2":
        architecture += "-768-v" if base.prediction_type == "v_prediction" else "-512"
    return {
        "ss_base_model_version": kohya_version,
        "ss_v2": str(version == "sd2"),
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
        "ss_network_args": json.dumps({"conv_dim": str(rank), "conv_alpha": str(rank)} if has_convolutions else {}),
        "ss_output_name": title,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": f"{base.image_size}x{base.image_size}",
        "modelspec.prediction_type": {"v_prediction": "v"}.get(base.prediction_type, base.prediction_type),
        "modelspec.trigger_phrase": ", ".join(embeddings.token_names(concepts)),
        "modelspec.thumbnail": _thumbnail(image),
    }


def uniform_rank(delta: WeightDelta) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the factors A (r, in) and B (out, r) by weight name, padded with zeros to the same rank r.

    Small matrices have a lower rank. Loaders that assume one rank and alpha for the whole file, as diffusers does for
    some layers, would scale them wrongly.
    """
    rank = max((len(value) for key, value in delta.items() if key.endswith(".A")), default=0)
    factors = {}
    for key, a in delta.items():
        if key.endswith(".A"):
            name = key.removesuffix(".A")
            a, b = a, delta[f"{name}.B"]
            missing = rank - len(a)
            factors[name] = (
                torch.cat([a, a.new_zeros(missing, a.shape[1])]),
                torch.cat([b, b.new_zeros(len(b), missing)], 1),
            )
    return factors


def factors_in_shape(base: Base, name: str, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors in the shapes of layers: for a convolution down (r, in, kh, kw) and up (out, r, 1, 1)."""
    kernel = base.weight_shapes[name][1:]
    if len(kernel) == 1:
        return a.contiguous(), b.contiguous()
    return a.unflatten(1, kernel).contiguous(), b[..., None, None].contiguous()


def _accepts_diff(target: str, component: str, layer: str) -> bool:
    if target == "comfyui":  # adds .diff to any weight and .diff_b to any bias that it has a key for
        return accepts_lora(component, layer)
    # A1111 takes either LoRA or a difference for a layer, so a bias cannot be added to a layer with factors
    return target == "a1111" and component == "unet" and "norm" in layer.rpartition(".")[2]


def _thumbnail(image: Image.Image) -> str:
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
