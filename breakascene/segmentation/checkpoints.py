"""Loading SAM: Meta's checkpoint files, local or from the hub, and the embedded small model."""

import os
import pickle
from pathlib import Path

import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from breakascene import hub
from breakascene.data import validation
from breakascene.errors import TranslatableMessage, UserError, resource_error
from breakascene.hub import DownloadFailed, HubFile, Progress
from breakascene.paths import TOYBOX
from breakascene.segmentation.small_sam import build_sam

SMALL = "toybox"  # the embedded model
HUB_REPO = "ybelkada/segment-anything"  # Meta's three files, unchanged
HUB_FILES = {
    "vit_b": HubFile(
        HUB_REPO, "checkpoints/sam_vit_b_01ec64.pth", 375042383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": HubFile(
        HUB_REPO, "checkpoints/sam_vit_l_0b3195.pth", 1249524607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": HubFile(
        HUB_REPO, "checkpoints/sam_vit_h_4b8939.pth", 2564550879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}  # fmt: skip
MODEL_TYPES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of the image encoder
FILE_NAMES = ", ".join(Path(file.path).name for file in HUB_FILES.values())
VIT_H_MEMORY = 16_000_000_000  # bytes free on the GPU from which vit_h leaves enough for an extraction


def auto_name(family: str | None = None) -> str:
    """Return the name of the segmenter that "auto" stands for.

    It is what BREAKASCENE_SAM names, if that is set. Otherwise it is vit_b with CUDA or a base other than the toybox,
    and the embedded model for the toybox on a CPU.

    Args:
        family: Model family of the base that the masks are for; by default that of BREAKASCENE_BASE.
    """
    if setting := os.environ.get("BREAKASCENE_SAM", ""):
        return setting
    family = family or ("toybox" if os.environ.get("BREAKASCENE_BASE", "auto") in ("auto", "toybox", "") else "sd")
    return SMALL if family == "toybox" and not torch.cuda.is_available() else "vit_b"


def fitting(name: str, device: torch.device) -> tuple[str, str]:
    """Return vit_b and the reason, as a sentence, if the GPU has no room for vit_h; else the same name and ""."""
    if name != "vit_h" or (device.type == "cuda" and torch.cuda.mem_get_info(device)[0] >= VIT_H_MEMORY):
        return name, ""
    return "vit_b", TranslatableMessage(
        "SAM vit_b is in use, because vit_h needs a GPU with {gigabytes} GB of free memory: set BREAKASCENE_SAM to "
        "vit_b, or use a larger GPU.",
        gigabytes=VIT_H_MEMORY // 10**9,
    )


def needs_download(name: str) -> bool:
    """Whether a segmenter is one of Meta's and not in the hub's cache."""
    return name in HUB_FILES and not _local_file() and HUB_FILES[name].cached() is None


def download(name: str, on_progress: Progress | None = None) -> Path:
    """Return the file of "vit_b", "vit_l" or "vit_h", downloaded if needed. Raises DownloadFailed."""
    return hub.download(HUB_FILES[name], on_progress)


def fallback_note(name: str, error: UserError) -> str:
    """Return a sentence that says why the small segmenter is in use instead of `name`, and what to do about it."""
    if not isinstance(error, DownloadFailed):
        return TranslatableMessage(
            "The small segmenter is in use, because {path} is missing or not a complete SAM checkpoint: set "
            "BREAKASCENE_SAM to one of Meta's files, such as {file}, and restart.",
            path=(name in HUB_FILES and HUB_FILES[name].cached()) or name, file=Path(HUB_FILES["vit_b"].path).name,
        )  # fmt: skip
    file = HUB_FILES[name]
    if error.reason == hub.NO_ROOM:
        return TranslatableMessage(
            "The small segmenter is in use, because {folder} has no room for SAM {name} ({megabytes} MB): free some "
            "space and restart, or set HF_HOME to a folder on another disk.",
            folder=constants.HF_HUB_CACHE, name=name, megabytes=round(file.size / 1e6),
        )  # fmt: skip
    if error.reason == hub.DAMAGED:
        return TranslatableMessage(
            "The small segmenter is in use, because SAM {name} arrived damaged: restart to download it anew, or "
            "set BREAKASCENE_SAM to a copy of {file}.",
            name=name, file=Path(file.path).name,
        )  # fmt: skip
    return TranslatableMessage(
        "The small segmenter is in use, because SAM {name} could not be downloaded: connect to the internet "
        "and restart, or set BREAKASCENE_SAM to a copy of {file}.",
        name=name, file=Path(file.path).name,
    )  # fmt: skip


def load_sam(name: str) -> tuple[Sam, str]:
    """Load a SAM by the name that Segmenter.load takes, "auto" excepted; returns it on the CPU with the resolved name.

    Raises:
        UserError: If the model is missing or damaged, or cannot be downloaded.
    """
    if name == SMALL:
        return _read_folder(TOYBOX / "segmenter"), name
    if name in HUB_FILES:
        return _read_checkpoint(_local_file() or download(name), model_type=name), name
    if Path(name).is_dir():
        return _read_folder(Path(name)), name
    if Path(name).is_file() or name == os.environ.get("BREAKASCENE_SAM"):
        return _read_checkpoint(Path(name)), name
    raise UserError(f'There is no segmenter "{name}": use toybox, vit_b, vit_l, vit_h or a .pth file.')


def _local_file() -> Path | None:
    """Return the checkpoint in BREAKASCENE_SAM, unless that is not set or names a model."""
    setting = os.environ.get("BREAKASCENE_SAM", "")
    return None if setting in ("", SMALL, *HUB_FILES) else Path(setting)


def _read_folder(folder: Path) -> Sam:
    """Build a SAM of the embedded architecture from config.json and model.safetensors."""
    try:
        config = validation.checked_dict(validation.read_json(folder / "config.json"), "its configuration")
        state_dict = load_file(folder / "model.safetensors")
        with torch.device("meta"):  # takes no memory, whatever sizes the configuration has
            sam = build_sam(config)
            shapes = {name: value.shape for name, value in sam.state_dict().items()}
            sam.image_encoder(torch.zeros(1, 3, sam.image_encoder.img_size, sam.image_encoder.img_size))
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
        raise UserError(f"{path.name} is not a SAM checkpoint: use one of {FILE_NAMES}.") from error
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
