"""The methods of the paper's comparison (section 4.1, figure 5) as settings of one training loop.

Baselines are changes of the preset `paper`, ablations of `light`, the default preset. All methods start from the same
handles. As in the paper, the baselines train on random subsets of the concepts on plain colors, mirrored half of the
time, with the plain diffusion loss.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from breakascene.models.base import Base
from breakascene.training.settings import Settings, preset

RATES = Path(__file__).with_name("rates.json")  # {method: factor of its learning rates}, from benchmarks.rates

# On Stable Diffusion a handle starts at the name of a known kind of object. The toybox has no embedding for an object
# that it has never seen; the image code of the cut-out comes closest, and is the same start for all methods.
START = {"init_from_image": True}
# The other methods as they were measured: `paper` has clipped gradients and shrunk masks by nearest pixel only since.
MEASURED = {"max_grad_norm": 0.0, "mask_resize": "area"}
CUT_OUTS = {"composition_prob": 1.0, "flip_compositions": True, "masked_loss": False, "attention_loss_weight": 0.0}


@dataclass(frozen=True)
class Method:
    """A method as changes of a preset, within the preset's total number of steps.

    Args:
        group: "ours", "start", "baseline" or "ablation".
        change: Returns the changed fields of the preset's settings.
        preset: The preset.
    """

    group: str
    change: Callable[[Settings], dict] = lambda settings: {}
    preset: str = "paper"


METHODS = {
    "light": Method("ours", preset="light"),
    "quick": Method("ours", preset="quick"),
    "paper": Method("ours"),  # the method as published
    # The initial handles, without training.
    "start": Method("start", lambda paper: {"steps": (0, 0)}),
    # Textual inversion trains the handles only: all steps belong to phase 1.
    "TI-m": Method("baseline", lambda paper: {**CUT_OUTS, "steps": (paper.total, 0)}),
    # DreamBooth trains all weights from the first step, with prior preservation and one learning rate.
    "DB-m": Method("baseline", lambda paper: {**CUT_OUTS, "steps": (0, paper.total)}),
    # Custom Diffusion trains the handles and the cross-attention's keys and values. So few weights take a larger
    # learning rate: its authors use 1e-5, where this paper uses 2e-6 for all weights.
    "CD-m": Method(
        "baseline",
        lambda paper: {
            **CUT_OUTS,
            "steps": (0, paper.total),
            "trained_weights": ("attn2.to_k.weight", "attn2.to_v.weight"),
            "weight_lr": 5 * paper.weight_lr,
            "handle_lr_phase2": 5 * paper.handle_lr_phase2,
        },
    ),
    # Ablations keep the learning rates of `light`. Without phase 1 all steps belong to phase 2.
    "no phase 1": Method("ablation", lambda light: {"steps": (0, light.total)}, "light"),
    "no masked loss": Method("ablation", lambda light: {"masked_loss": False}, "light"),
    "no attention loss": Method("ablation", lambda light: {"attention_loss_weight": 0.0}, "light"),
    "no union sampling": Method("ablation", lambda light: {"union_sampling": False}, "light"),
}


def method_settings(name: str, base: Base, share: float = 1.0, lr_factor: float | None = None) -> Settings:
    """Return the settings of a method on a base.

    Args:
        name: A key of METHODS.
        base: The base model.
        share: Share of the steps for methods derived from `paper`, for a shorter run.
        lr_factor: Factor of all learning rates; by default the one in RATES, for an ablation that of its preset.
    """
    method = METHODS[name]
    settings = preset(method.preset, base, **START, **(MEASURED if name != "paper" else {}))
    settings = replace(settings, **method.change(settings))
    if lr_factor is None:
        factors = json.loads(RATES.read_text(encoding="utf-8")) if RATES.is_file() else {}
        lr_factor = factors.get(method.preset if method.group == "ablation" else name, 1.0)
    rates = {rate: lr_factor * getattr(settings, rate) for rate in ("handle_lr", "weight_lr", "handle_lr_phase2")}
    share = share if method.preset == "paper" else 1.0
    return replace(settings, **rates, steps=tuple(round(share * steps) for steps in settings.steps))
