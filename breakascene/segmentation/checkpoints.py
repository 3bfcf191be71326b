"""Loading SAM: Meta's checkpoint files, local or from the hub, and the embedded small model."""

import os
import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from breakascene.data import validation
from breakascene.errors import UserError, resource_error
from breakascene.paths import TOYBOX
from breakascene.segmentation.small_sam import build_sam

HUB_REPO = "ybelkada/segment-anything"  # Meta's three files, unchanged
HUB_FILES = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
HUB_TIMEOUT = 8  # seconds
MODEL_TYPES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of the image encoder


def load_sam(name: str) -> tuple[Sam, str]:
    """Load a SAM by the name that Segmenter.load takes; returns it on the CPU with the resolved name.

    Raises UserError if the model is missing or damaged, or cannot be downloaded.
    """
    local = os.environ.get("BREAKASCENE_SAM", "")
    if name == "auto":
        name = local or "toybox"
    if name == "toybox":
        return _read_folder(TOYBOX / "segmenter"), name
    if name in HUB_FILES:
        return _read_checkpoint(Path(local or _download(name)), model_type=name), name
    if Path(name).is_dir():
        return _read_folder(Path(name)), name
    if Path(name).is_file():
        return _read_checkpoint(Path(name)), name
    raise UserError(f'There is no segmenter "{name}": use toybox, vit_b, vit_l, vit_h or a .pth file.')


def _read_folder(folder: Path) -> Sam:
    """Build a SAM of the embedded architecture from config.json and model.safetensors."""
    try:
        config = validation.checked_dict(validation.read_json(folder / "config.json"), "its configuration")
        state_dict = load_file(folder / "model.safetensors")
        with torch.device("meta"):  # takes no memory, whatever sizes the configuration has
            shapes = {name: value.shape for name, value in build_sam(config).state_dict().items()}
        if shapes != {name: value.shape for name, value in state_dict.items()}:
            raise ValueError("its configuration does not match its weights")
        sam = build_sam(config)
        sam.load_state_dict({name: value.float() for name, value in state_dict.items()})
    except Exception as error:  # a wrong configuration shows anywhere in SAM's code
        if resource_error(error):
            raise
        raise UserError(
            f"The segmenter in {folder} cannot be read: it needs a config.json and a matching model.safetensors."
        ) from error
    return sam


def _read_checkpoint(path: Path, model_type: str | None = None) -> Sam:
    """Build a SAM from one of Meta's .pth files; the width of its image encoder determines the model type."""
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found = MODEL_TYPES[state_dict["image_encoder.pos_embed"].shape[-1]]
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}: set BREAKASCENE_SAM to a SAM checkpoint (.pth).") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path.name} is not a SAM checkpoint: use one of {', '.join(HUB_FILES.values())}.") from error
    if model_type not in (None, found):
        raise UserError(
            f"{path.name} is {found}, not {model_type}: ask for {found} or set BREAKASCENE_SAM to another file."
        )
    sam = sam_model_registry[found]()
    try:
        sam.load_state_dict(state_dict)
    except RuntimeError as error:
        raise UserError(f"{path.name} does not contain all weights of {found}: download it again.") from error
    return sam


def _download(model_type: str) -> str:
    from huggingface_hub import constants, get_session, hf_hub_download

    file = f"checkpoints/{HUB_FILES[model_type]}"
    try:
        try:
            return hf_hub_download(HUB_REPO, file, local_files_only=True)
        except OSError:
            # A short request first: without a connection, the hub's client retries for half a minute.
            get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
            return hf_hub_download(HUB_REPO, file)
    except Exception as error:  # whatever went wrong, the remedy is the same
        raise UserError(
            f"SAM {model_type} cannot be downloaded from the hub: set BREAKASCENE_SAM to a local copy of "
            f"{HUB_FILES[model_type]}, or use the toybox segmenter."
        ) from error
