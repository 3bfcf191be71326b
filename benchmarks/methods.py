"""The methods of the paper's comparison (section 4.1, figure 5) as settings of one loop.

A baseline differs from the preset `paper` only in what is named here, an ablation from `light`, what our users get. All
begin at the same handles. The baselines see what the paper gives them: random subsets of the concepts on plain colours,
mirrored half of the time, and the plain loss.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from breakascene.models.base import Base
from breakascene.training.settings import Settings, preset

RATES = Path(__file__).with_name("rates.json")  # {method: times its rates}, what benchmarks.rates found

# A handle of Stable Diffusion begins at a word that draws its kind of thing. The toybox has no such word for a thing
# that it has never seen; the code of the cut-out is the nearest to it, and the same start for all keeps it fair.
START = {"init_from_image": True}
CUT_OUTS = {"composition_prob": 1.0, "flip_compositions": True, "masked_loss": False, "attention_loss_weight": 0.0}


@dataclass(frozen=True)
class Method:
    """A way to extract: what it changes of a preset. The budget of steps is that of the preset, however it is split."""

    group: str  # "ours", "baseline" or "ablation"
    change: Callable[[Settings], dict] = lambda whole: {}
    preset: str = "paper"


METHODS = {
    "light": Method("ours", preset="light"),  # what our users get
    "quick": Method("ours", preset="quick"),
    "paper": Method("ours"),  # the whole method, as published
    # What the start alone is worth, before any step.
    "start": Method("start", lambda paper: {"steps": (0, 0)}),
    # Textual inversion teaches the handles only: all steps are of phase 1.
    "TI-m": Method("baseline", lambda paper: {**CUT_OUTS, "steps": (paper.total, 0)}),
    # DreamBooth teaches all weights from the first step, held back by the prior; its words learn at the same rate.
    "DB-m": Method("baseline", lambda paper: {**CUT_OUTS, "steps": (0, paper.total)}),
    # Custom Diffusion teaches keys and values of the cross-attention and the words. So few weights want a larger rate:
    # its authors train them at 1e-5, this paper's train all at 2e-6.
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
    # The ablations keep the rates of `light`. Without phase 1 all steps are of phase 2.
    "no phase 1": Method("ablation", lambda light: {"steps": (0, light.total)}, "light"),
    "no masked loss": Method("ablation", lambda light: {"masked_loss": False}, "light"),
    "no attention loss": Method("ablation", lambda light: {"attention_loss_weight": 0.0}, "light"),
    "no union sampling": Method("ablation", lambda light: {"union_sampling": False}, "light"),
}


def settings(name: str, base: Base, share: float = 1.0, times: float | None = None) -> Settings:
    """The settings of a method on a base.

    share: of the steps of `paper` and those with its budget, for a shorter run. times: what its learning rates are
    multiplied by; as found by the search where None, and an ablation as its preset.
    """
    method = METHODS[name]
    whole = preset(method.preset, base, **START)
    whole = replace(whole, **method.change(whole))
    if times is None:
        found = json.loads(RATES.read_text(encoding="utf-8")) if RATES.is_file() else {}
        times = found.get(method.preset if method.group == "ablation" else name, 1.0)
    rates = {rate: times * getattr(whole, rate) for rate in ("handle_lr", "weight_lr", "handle_lr_phase2")}
    part = share if method.preset == "paper" else 1.0
    return replace(whole, **rates, steps=tuple(round(part * steps) for steps in whole.steps))
