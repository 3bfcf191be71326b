"""One step: which picture it looks at, which concepts of it, and what it is blamed for."""

from collections.abc import Sequence

import torch

from breakascene.models.attention import AttentionStore, token_maps
from breakascene.models.base import Base
from breakascene.models.handles import token_positions, training_prompt
from breakascene.training import losses
from breakascene.training.augment import TrainingData
from breakascene.training.prior import Prior
from breakascene.training.settings import Settings


def step_loss(
    base: Base,
    views: TrainingData,
    handles: Sequence[str],
    prior: Prior | None,
    settings: Settings,
    rng: torch.Generator,
    seen: AttentionStore,
) -> tuple[torch.Tensor, dict[str, float], dict[str, float], tuple[str, ...]]:
    """Draw and weigh one step: the losses of sections 3.1 to 3.3, over `batch` subsets and as many prior pictures.

    seen: a AttentionStore at work, which has to last until the gradient is taken.
    Returns the scalar to minimise, the figures of StepEvent.losses and .leak, and the handles drawn.
    """
    drawn = [sample_view(views, settings, rng) for _ in range(settings.train_batch_size)]
    picked, subsets = [view for view, _ in drawn], [subset for _, subset in drawn]
    prompts = [training_prompt([handles[k] for k in subset]) for subset in subsets]
    spread = torch.randn((len(drawn), *views.mean.shape[1:]), generator=rng).to(base.device)
    latents = views.mean[picked] + views.std[picked] * spread  # (B, C, h, w), a draw of the posterior
    masks = [views.masks[view, subset] for view, subset in drawn]
    if settings.area_weighting:  # by the root, because the loss squares it
        masks = [
            mask * area_weights(views, view, subset, settings.area_weighting).sqrt()[:, None, None]
            for mask, (view, subset) in zip(masks, drawn, strict=True)
        ]
    union = torch.stack([mask.amax(0, keepdim=True) for mask in masks])  # (B, 1, h, w)
    if prior:
        chosen = torch.randint(len(prior.prompts), (settings.train_batch_size,), generator=rng).tolist()
        prompts += [prior.prompts[i] for i in chosen]
        latents = torch.cat([latents, prior.latents[chosen]])  # (2B, C, h, w): one pass for both
    noise = torch.randn(latents.shape, generator=rng).to(base.device)
    steps = base.scheduler.config.num_train_timesteps
    timesteps = torch.randint(steps, (len(latents),), generator=rng).to(base.device)
    noisy, target = base.add_noise(latents, noise, timesteps)

    own = len(subsets)
    prediction = base.predict(noisy, timesteps, prompts)
    mask = union if settings.masked_loss else torch.ones_like(union)  # (B, 1, h, w)
    scale = views.power.rsqrt() if settings.normalize_channels else 1.0
    reconstruction = losses.masked_loss(scale * prediction[:own], scale * target[:own], mask)
    attention, leaks = 0.0, {}
    for attended, prompt, (view, subset) in zip(seen.mean(), prompts, drawn, strict=False):
        names = [handles[k] for k in subset]
        maps = token_maps(attended, token_positions(base, prompt, names)).float()  # (k, s, s)
        cells = views.cells[view, subset]
        attention = attention + losses.attention_loss(maps, cells) / own
        leaks.update(zip(names, losses.leak(maps.detach(), cells).tolist(), strict=True))
    total = reconstruction + settings.attention_loss_weight * attention
    parts = {"reconstruction": reconstruction, "attention": attention}
    if prior:
        parts["prior"] = losses.prior_loss(prediction[own:], target[own:])
        total = total + settings.prior_loss_weight * parts["prior"]
    figures = {name: value.item() for name, value in {"total": total, **parts}.items()}
    return total, figures, leaks, tuple(handles[k] for k in sorted(set().union(*subsets)))


def sample_view(views: TrainingData, settings: Settings, rng: torch.Generator) -> tuple[int, list[int]]:
    """Which picture a step looks at and which concepts of it: a photo or its mirror image, or an arrangement."""
    arranged = 2 * views.photos
    if settings.composition_prob and torch.rand((), generator=rng) < settings.composition_prob:
        view = arranged + int(torch.randint(len(views.shown) - arranged, (), generator=rng))
        shown = views.shown[view]
        subset = list(shown)  # all of it was drawn at random already
        if not settings.union_sampling:
            subset = [shown[i] for i in sample_subset(len(shown), False, rng)]
    else:
        photo = 2 * int(torch.randint(views.photos, (), generator=rng)) if views.photos > 1 else 0
        shown = views.shown[photo]
        chances = (
            views.areas[photo, list(shown)].cpu() ** -settings.balance_sampling if settings.balance_sampling else None
        )
        subset = [shown[i] for i in sample_subset(len(shown), settings.union_sampling, rng, chances)]
        view = photo + (int(torch.randint(2, (), generator=rng)) if settings.random_flip else 0)
    return view, sorted(subset, key=views.middles[view].__getitem__) if settings.left_to_right else subset


def sample_subset(
    count: int, union_sampling: bool, rng: torch.Generator, chances: torch.Tensor | None = None
) -> list[int]:
    """Union sampling, section 3.2: how many concepts uniformly from 1..count, then which and in what order.

    chances: (count,), how readily each is picked; all alike by default, as in the paper.
    """
    size = 1 + int(torch.randint(count, (), generator=rng)) if union_sampling else 1
    if chances is None:
        return torch.randperm(count, generator=rng)[:size].tolist()
    return torch.multinomial(chances, size, generator=rng).tolist()


def area_weights(views: TrainingData, view: int, subset: Sequence[int], power: float) -> torch.Tensor:
    """How much a cell of each concept counts, (k,): with power 1 all concepts of the picture weigh alike in sum."""
    areas = views.areas[view]
    middle = areas[list(views.shown[view])].log().mean().exp()
    return (middle / areas[list(subset)]) ** power
