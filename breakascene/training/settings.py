"""The settings of a run, and the presets with a reason for each value."""

from dataclasses import asdict, dataclass, fields, replace

from breakascene.data import validation
from breakascene.data.scene import MAX_TOGETHER, Scene
from breakascene.errors import UserError
from breakascene.models.base import Base
from breakascene.models.lora import UNET_ATTENTION, UNET_INNER
from breakascene.training.modes import DEFAULT_PRESET, PRESET_NAMES

# Plain scenes with objects, which are what a run could make the base forget; both the toybox and Stable Diffusion know
# them.
PRIOR_PROMPTS = (
    "a photo of a dog at the beach",
    "a photo of a car in the snow",
    "a photo of an apple on a wooden table",
    "a photo of a cat on the grass",
    "a photo of a bird and a flower",
    "a photo of a cup and a book",
    "a photo of a boat under water",
    "a photo of a tree in the desert",
)
PUBLIC_PRIOR_PROMPTS = ("a photo at the beach",)  # of the public code


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of a run besides the scene and the base.

    Each part of the method can be switched off: a phase by 0 steps, a loss by weight 0, the rest by False.
    Section and appendix numbers are those of arXiv 2305.16311.
    """

    preset: str = DEFAULT_PRESET
    seed: int = 0

    # Optimizer
    steps: tuple[int, int] = (400, 400)  # of phase 1 and phase 2; appendix B.1
    handle_lr: float = 5e-4  # of the handles in phase 1; appendix B.1
    handle_lr_phase2: float = 2e-6  # of the handles in phase 2; the public code has one rate for all
    weight_lr: float = 2e-6  # of the weights in phase 2; appendix B.1
    lr_scheduler: str = "constant"  # of phase 2: "constant" as in the public code, or "linear" down to 0
    weight_decay: float = 1e-2  # of AdamW, as in the public code
    max_grad_norm: float = 0.0  # clip the gradient of all parameters to this norm, 0 for never; 1 in the public code

    # Weights that phase 2 trains
    train_all_weights: bool = False  # all weights, as in the paper, instead of LoRA
    trained_weights: tuple[str, ...] = ("",)  # name suffixes of the weights that train_all_weights covers
    rank: int = 16  # of the LoRA, or of the saved delta of a full fine-tuning
    lora_layers: tuple[str, ...] = UNET_ATTENTION  # name suffixes of the UNet layers that carry LoRA

    # Data
    train_batch_size: int = 1  # subsets a step; 1 in the public code
    union_sampling: bool = True  # a random subset of the concepts a step instead of a single one; section 3
    left_to_right: bool = False  # name the concepts in their order in the image; in any order in the paper
    balance_sampling: float = 0.0  # sample small concepts more often, by area ** -balance_sampling
    random_flip: bool = True  # mirror the photo half of the time
    composition_prob: float = 0.0  # share of steps on compositions of the cut-outs instead of the photo
    flip_compositions: bool = False  # mirror half of the compositions
    init_from_image: bool = False  # start the handles at their cut-outs' image codes where the base has a map for them

    # Losses
    mask_resize: str = "area"  # to the size of latents and attention maps: "area", or "nearest" as in the public code
    masked_loss: bool = True  # reconstruct inside the masks only; section 3
    area_weighting: float = 0.0  # 1: small concepts count as much as large ones in the masked loss
    normalize_channels: bool = False  # scale each latent channel by its power, so that details count as much as colors
    attention_loss_weight: float = 1e-2  # λ_attn; section 3
    prior_loss_weight: float = 1.0  # as in DreamBooth
    num_prior_images: int = 96  # generated once for a base; the public code takes 100
    prior_prompts: tuple[str, ...] = PRIOR_PROMPTS  # of the prior images, in turn

    @property
    def total(self) -> int:
        """Steps of both phases."""
        return sum(self.steps)

    def to_json(self) -> dict:
        """Return the settings as JSON values; tuples become lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict) -> "Settings":
        """Read what `to_json` wrote, in this or an earlier version; fields unknown to this version are left out.

        Raises:
            ValueError: For a value of the wrong type, or outside its range.
        """
        known = {field.name for field in fields(cls)}
        current = upgrade(values)
        settings = cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in current.items() if key in known})
        settings._validate()
        return settings

    def _validate(self) -> None:
        """Raise ValueError for a value of another type than the default's, or outside its range."""
        for field in fields(self):
            value, default, what = getattr(self, field.name), field.default, f"its setting {field.name}"
            if isinstance(default, bool):
                if not isinstance(value, bool):
                    raise ValueError(f"{what} is not true or false")
            elif isinstance(default, int):
                low, high = _RANGES.get(field.name, (0, 2**64 - 1))
                validation.checked_int(value, low, high, what)
            elif isinstance(default, float):
                low, high = _RANGES.get(field.name, (0, 1e6))
                validation.checked_float(value, low, high, what)
            elif isinstance(default, str):
                validation.checked_text(value, 64, what)
            else:
                items = validation.checked_list(list(value) if isinstance(value, tuple) else value, 64, what)
                for item in items:
                    if field.name == "steps":
                        validation.checked_int(item, 0, validation.MAX_STEPS, what)
                    else:
                        validation.checked_text(item, 200, what)
        if len(self.steps) != 2:
            raise ValueError("its setting steps does not have two numbers")
        if self.lr_scheduler not in ("constant", "linear"):
            raise ValueError("its setting lr_scheduler is unknown")
        if self.mask_resize not in ("area", "nearest"):
            raise ValueError("its setting mask_resize is unknown")
        if not self.prior_prompts:
            raise ValueError("its setting prior_prompts is empty")


_RANGES = {  # of the fields with narrower ranges than 0..1e6
    "rank": (1, 4096),
    "train_batch_size": (1, 1024),
    "num_prior_images": (0, 100_000),
    "composition_prob": (0, 1),
}

# Field names up to November 2026 → today's. Run folders, run files and checkpoints of that time hold the old ones.
OLD_NAMES = {
    "arranged": "composition_prob",
    "area_weight": "area_weighting",
    "attention_weight": "attention_loss_weight",
    "balance": "balance_sampling",
    "batch": "train_batch_size",
    "even_channels": "normalize_channels",
    "falling": "lr_scheduler",
    "flip": "random_flip",
    "flip_arranged": "flip_compositions",
    "full": "train_all_weights",
    "full_weights": "trained_weights",
    "handle_rate": "handle_lr",
    "late_handle_rate": "handle_lr_phase2",
    "masked": "masked_loss",
    "ordered": "left_to_right",
    "pictured": "init_from_image",
    "prior_count": "num_prior_images",
    "prior_weight": "prior_loss_weight",
    "unet_layers": "lora_layers",
    "weight_rate": "weight_lr",
}


def upgrade(values: dict) -> dict:
    """Rename the fields of saved settings by OLD_NAMES and convert the one whose type changed."""
    current = {OLD_NAMES.get(key, key): value for key, value in values.items()}
    if "falling" in values:
        current["lr_scheduler"] = "linear" if values["falling"] else "constant"
    return current


# What differs from the defaults above, by model family and preset. The learning rates of `paper` on Stable Diffusion
# are the paper's; LoRA takes about a hundred times the rate of full fine-tuning, and the toybox about ten times that.
# On Stable Diffusion 1 and 2 a step on four subsets takes a GPU twice as long as one on a single subset, so `light` and
# `quick` do fewer steps at twice the rates: as many samples in less time. SDXL has no such gain. See docs/method.md.
# The toybox has shapes in its convolutions and ties objects to sizes and positions: there LoRA reaches further, nine of
# ten steps use compositions, and details count as much as colors. Its captions name objects from left to right; a
# run that names them in any order mixes them up. Four subsets a step and a decaying rate reduce the noise of few steps.
# Chosen on scenes apart from the benchmark's, see docs/toybox.md.
TOYBOX_LORA = {
    "init_from_image": True,
    "composition_prob": 0.9,
    "rank": 32,
    "lora_layers": UNET_INNER,
    "train_batch_size": 4,
    "normalize_channels": True,
    "lr_scheduler": "linear",
    "left_to_right": True,
}
PUBLIC_CODE = {"max_grad_norm": 1.0, "mask_resize": "nearest"}
SD_PAPER = {
    "train_all_weights": True,
    **PUBLIC_CODE,
    "prior_prompts": PUBLIC_PRIOR_PROMPTS,
    "num_prior_images": 100,
}
PRESETS = {
    # As published: what the others are measured against.
    ("sd", "paper"): SD_PAPER,
    ("sdxl", "paper"): SD_PAPER,
    # As many samples as the paper, but small factors to train: a fraction of the memory.
    ("sd", "light"): {
        "steps": (104, 104),
        "train_batch_size": 4,
        "handle_lr": 1e-3,
        "weight_lr": 2e-4,
        "handle_lr_phase2": 1e-4,
    },
    # Two fifths of the samples at three to four times the rates: a first result within seconds.
    ("sd", "quick"): {
        "steps": (42, 42),
        "train_batch_size": 4,
        "handle_lr": 4e-3,
        "weight_lr": 6e-4,
        "handle_lr_phase2": 4e-4,
        "num_prior_images": 32,
    },
    ("sdxl", "light"): {"weight_lr": 1e-4, "handle_lr_phase2": 5e-5},
    ("sdxl", "quick"): {
        "steps": (150, 150),
        "handle_lr": 2e-3,
        "weight_lr": 3e-4,
        "handle_lr_phase2": 2e-4,
        "num_prior_images": 32,
    },
    # The paper's losses, steps and sampling, with rates that suit a small model and names in the order of its captions.
    ("toybox", "paper"): {
        "train_all_weights": True,
        **PUBLIC_CODE,
        "left_to_right": True,
        "handle_lr": 1e-2,
        "weight_lr": 5e-5,
        "handle_lr_phase2": 5e-5,
    },
    # Handles that start at their image codes need few steps, so most steps train the weights.
    ("toybox", "light"): {
        **TOYBOX_LORA,
        "steps": (30, 150),
        "handle_lr": 2e-2,
        "weight_lr": 2e-3,
        "handle_lr_phase2": 1e-3,
    },
    # Two ninths of these steps at a higher rate: most of the identity in a quarter of the time.
    ("toybox", "quick"): {
        **TOYBOX_LORA,
        "steps": (8, 32),
        "handle_lr": 2e-2,
        "weight_lr": 5e-3,
        "handle_lr_phase2": 1e-3,
    },
}
FEW_CONCEPTS = 4  # the number of concepts that the presets' steps are meant for
# Area ratio from which a small concept is drowned out by a large one. Measured on the toybox with two concepts, 11 and
# 17 times apart, without compositions: area_weighting 1 cut the small one's error by 18 to 45 % in each of four runs
# and raised the large one's by 11 to 27 %; balance_sampling 0.5 helped in two runs and hurt in two.
MAX_AREA_RATIO = 8


def preset(name: str, base: Base, **changes) -> Settings:
    """Return the settings of a preset for a base.

    Args:
        name: "light" (LoRA, the default), "quick" (LoRA, fewer steps at higher rates) or "paper" (all weights).
        base: Its model family decides the values.
        changes: Fields of Settings to set otherwise.

    Raises:
        UserError: For an unknown name.
    """
    if name not in PRESET_NAMES:
        raise UserError(f'There is no preset "{name}": choose {", ".join(PRESET_NAMES[:-1])} or {PRESET_NAMES[-1]}.')
    # The toybox generates its prior images on a CPU, and has less to forget.
    count = {"num_prior_images": 24} if base.family == "toybox" else {}
    return replace(Settings(preset=name), **{**count, **PRESETS[base.family, name], **changes})


def adapted(settings: Settings, scene: Scene) -> Settings:
    """Adapt a preset to a scene: more steps for many concepts, equal weights for concepts of very different areas.

    The preset `paper` stays as published. Where concepts are extracted in groups, each group takes the preset's steps.
    """
    if settings.preset == "paper":
        return settings
    share = min(max(1, len(scene.handles) / FEW_CONCEPTS), 2) if len(scene.concepts) <= MAX_TOGETHER else 1
    areas = [concept.mask.mean() for concept in scene.concepts]
    weighting = 1.0 if max(areas) > MAX_AREA_RATIO * min(areas) else settings.area_weighting
    return replace(settings, steps=tuple(round(share * steps) for steps in settings.steps), area_weighting=weighting)
