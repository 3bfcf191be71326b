"""How a run is done: one frozen Settings, and the presets with a reason for each number."""

from dataclasses import asdict, dataclass, replace

from breakascene.data.scene import Scene
from breakascene.errors import UserError
from breakascene.models.base import Base
from breakascene.models.lora import UNET_ATTENTION, UNET_INNER


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of a run, besides the scene and the base.

    Each part can be switched off: a phase by 0 steps, a loss by weight 0, union sampling, mask and flip by False.
    """

    preset: str = "light"
    full: bool = False  # train all weights in phase 2, not LoRA
    full_weights: tuple[str, ...] = ("",)  # ends of names of the weights that `full` trains; every name ends in ""
    steps: tuple[int, int] = (400, 400)  # of phase 1 and phase 2; section 4: 400 each
    pictured: bool = False  # begin the handles at the pictures of their things, where the base can read them; see looks
    handle_rate: float = 5e-4  # learning rate of the handles in phase 1; section 4
    weight_rate: float = 2e-6  # learning rate of the weights in phase 2; section 4
    late_handle_rate: float = 2e-6  # learning rate of the handles in phase 2; the authors' code has one rate for all
    falling: bool = False  # let the rates of phase 2 fall to 0 along a line; the authors' code keeps them
    weight_decay: float = 1e-2  # of AdamW, as in the authors' code
    rank: int = 16  # of the LoRA, or what a full change is cut to: a result stays small
    unet_layers: tuple[str, ...] = UNET_ATTENTION  # ends of names of the UNet layers that carry LoRA
    batch: int = 1  # subsets a step; one, as in the authors' code
    union_sampling: bool = True  # draw a random subset of the concepts each step, not just one; section 3.2
    ordered: bool = False  # name concepts from left to right; the paper: in any order
    balance: float = 0.0  # draw small concepts more often, each by area ** -balance; the paper draws all alike
    masked: bool = True  # reconstruct only inside the masks; section 3.2
    area_weight: float = 0.0  # 1 lets small concepts weigh as much as large ones in the masked loss; the paper: by area
    even_channels: bool = False  # each channel of the latents counts alike, by its power; the paper: details count less
    flip: bool = True  # mirror photo and masks half of the time
    arranged: float = 0.0  # share of steps that look at cut-outs arranged anew instead of the photo; see views
    flip_arranged: bool = False  # mirror half of the arrangements
    attention_weight: float = 1e-2  # λ_attn; section 3.3
    prior_weight: float = 1.0  # as in DreamBooth
    prior_count: int = 96  # pictures drawn once for a base; the authors' code draws 100
    seed: int = 0

    @property
    def total(self) -> int:
        """Steps of both phases."""
        return sum(self.steps)

    def to_json(self) -> dict:
        """The settings as JSON values; tuples become lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict) -> "Settings":
        """The inverse of to_json; fields unknown to this version are left out."""
        known = {
            key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in cls.__dataclass_fields__
        }
        return cls(**known)


# (kind of base, preset) → what differs from the defaults above. Stable Diffusion's rates of `paper` are the paper's;
# LoRA wants about a hundred times the rate of full weights, and a small base about ten times that of a large one.
# A small base has shapes in its convolutions, and ties things to sizes and places: there LoRA reaches further, nine of
# ten steps look at arrangements, and details count as much as colours. Its captions name things from left to right; a
# run that names them in any order teaches it to mix them. Four subsets a step and a falling rate quiet the
# noise of few steps. Chosen on scenes apart from the benchmarks': see the table in toybox/README.md.
SMALL = {
    "pictured": True,
    "arranged": 0.9,
    "rank": 32,
    "unet_layers": UNET_INNER,
    "batch": 4,
    "even_channels": True,
    "falling": True,
    "ordered": True,
}
PRESETS = {
    # As published: what the others are measured against.
    ("large", "paper"): {"full": True},
    # As many steps as the paper for its likeness, but small factors to learn: a fifth of the memory.
    ("large", "light"): {"weight_rate": 1e-4, "late_handle_rate": 5e-5},
    # To see within minutes what a scene gives: three eighths of the steps, at three to four times the rates.
    ("large", "quick"): {"steps": (150, 150), "handle_rate": 2e-3, "weight_rate": 3e-4, "late_handle_rate": 2e-4},
    # The paper's losses, steps and draws, with rates that suit a small base and names in the order of its captions.
    ("small", "paper"): {
        "full": True,
        "ordered": True,
        "handle_rate": 1e-2,
        "weight_rate": 5e-5,
        "late_handle_rate": 5e-5,
    },
    # From a start at its picture a handle needs little, so most steps are for the weights.
    ("small", "light"): {
        **SMALL,
        "steps": (30, 150),
        "handle_rate": 2e-2,
        "weight_rate": 2e-3,
        "late_handle_rate": 1e-3,
    },
    # Two ninths of these steps at a higher rate: most of the likeness in a quarter of the time.
    ("small", "quick"): {
        **SMALL,
        "steps": (8, 32),
        "handle_rate": 2e-2,
        "weight_rate": 5e-3,
        "late_handle_rate": 1e-3,
    },
}
FEW = 4  # concepts that the presets' steps are meant for
# Times as large as the smallest: from there on a small concept is drowned. Measured on the toybox with two things, 11
# and 17 times apart, without arrangements: area_weight 1 took 18 to 45 % off the small one's error in each of four runs
# and put 11 to 27 % on the large one's; with balance 0.5 two runs were better for it and two worse.
UNEVEN = 8
PRESET_NAMES = ("light", "quick", "paper")


def preset(name: str, base: Base, **changes) -> Settings:
    """The settings of a preset for this base.

    name: "light" (LoRA, the default), "quick" (LoRA, fewer steps and higher rates) or "paper" (all weights).
    changes: fields of Settings to set otherwise. Raises UserError for a name that is no preset.
    """
    if name not in PRESET_NAMES:
        raise UserError(f'There is no preset "{name}": choose {", ".join(PRESET_NAMES[:-1])} or {PRESET_NAMES[-1]}.')
    kind = "small" if base.small else "large"
    # A small base draws its prior pictures on a CPU, and has less to forget.
    count = {"prior_count": 24} if base.small else {}
    return replace(Settings(preset=name), **{**count, **PRESETS[kind, name], **changes})


def adapted(settings: Settings, scene: Scene) -> Settings:
    """The settings for this scene: more steps for many concepts, which share them, and a small one beside a large one
    weighs as much. The preset `paper` stays as the paper has it.
    """
    if settings.preset == "paper":
        return settings
    share = min(max(1, len(scene.handles) / FEW), 2)
    areas = [concept.mask.mean() for concept in scene.concepts]
    weight = 1.0 if max(areas) > UNEVEN * min(areas) else settings.area_weight
    return replace(settings, steps=tuple(round(share * steps) for steps in settings.steps), area_weight=weight)
