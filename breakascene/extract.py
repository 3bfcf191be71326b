"""The extraction: one photo with masks goes in, handles that draw its things come out (section 3 of the paper)."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from breakascene import adapter, checkpoint, losses
from breakascene.attention import Recorder, token_maps
from breakascene.base import Base
from breakascene.checkpoint import Checkpoint
from breakascene.concepts import Concepts, check_target
from breakascene.errors import UserError
from breakascene.files import require_writable
from breakascene.handles import initial_rows, places, taught, training_prompt
from breakascene.prior import Prior, prior_latents
from breakascene.scene import Scene, cutout
from breakascene.settings import Settings, preset
from breakascene.views import ARRANGEMENTS, Views

__all__ = ["Settings", "StepEvent", "extract", "preset", "read_maps", "run_extraction"]

PREVIEW_STEPS = 8
PHASE_2_COST = 3.0  # a step of phase 2 in steps of phase 1, to foretell the time left until one has been measured


@dataclass(frozen=True, eq=False)
class StepEvent:
    """What one step did. Maps are (s, s) float32 with peak 1, and lie over `scene.square(base.image_size).pixels`."""

    phase: int  # 1 or 2
    step: int  # from 1, over both phases
    total: int  # steps of both phases
    losses: dict[str, float]  # "total", "reconstruction", "attention", and in phase 2 with prior pictures "prior"
    leak: dict[str, float]  # for each handle of the step the share of its attention outside its mask, 0..1
    seconds: float  # that this step took
    seconds_left: float
    handles: tuple[str, ...]  # drawn in this step
    previews: dict[str, Image.Image] | None = None
    maps: dict[str, np.ndarray] | None = None


def extract(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    preview_every: int = 0,
    maps_every: int = 0,
    save_every: int = 100,
) -> Iterator[StepEvent]:
    """Learn the concepts of a scene. Yields an event after each step; the generator's return value is the Concepts.

    out: a folder for the result; a checkpoint lies beside it until all steps are done. resume: go on from there.
    stop: asked between steps; once true, what has been learned so far is returned (and saved). preview_every,
    maps_every, save_every: steps between pictures, attention maps, checkpoints; 0 for never. None of them changes the
    outcome, which scene, base and settings decide (bit for bit on one CPU).
    The base is in use until the generator ends or is closed, and is then as it was.
    Raises UserError if `out` cannot be written, the run to resume is another, or the prompt of all is too long.
    """
    identity = checkpoint.identity(scene, base, settings)
    if out is not None:
        check_target(require_writable(out, "folder"))
    elif resume:
        raise UserError("There is nothing to resume without a run folder: give --out.")
    saved = checkpoint.load(checkpoint.path_for(out), identity) if resume else None
    rng = torch.Generator().manual_seed(settings.seed)
    if saved:
        rng.set_state(saved.random)
    views = Views.of(scene, base, ARRANGEMENTS if settings.arranged else 0, settings.seed, settings.flip_arranged)
    history = list(saved.losses) if saved else []
    rows = saved.tensors["handles"] if saved else first_rows(scene, base, settings)
    trainable, parameters, optimizer, stopped = None, {}, None, False
    clock = _Clock(settings)

    def write_checkpoint(phase: int) -> None:
        tensors = {**parameters, **checkpoint.adam_state(optimizer, parameters)}
        checkpoint.save(checkpoint.path_for(out), Checkpoint(phase, history, identity, tensors, rng.get_state()))

    with ExitStack() as undo:
        words = undo.enter_context(taught(base, scene.handles, rows))
        places(base, training_prompt(scene.handles), scene.handles)  # raises if the longest prompt is cut off
        for phase in (1, 2):
            first, last = (0, settings.steps[0]) if phase == 1 else (settings.steps[0], settings.total)
            if stopped or len(history) >= last:
                continue
            prior = None
            if phase == 2:
                if settings.prior_weight:
                    prior = prior_latents(base, settings.prior_count, stop)
                trainable = undo.enter_context(_trainable(base, settings))
            parameters = {"handles": words, **(trainable.parameters if trainable else {})}
            optimizer = _optimizer(words, trainable, settings)
            if saved and saved.step > first:
                checkpoint.restore(saved, optimizer, parameters)
            if out is not None and save_every:
                write_checkpoint(phase)  # from here on a killed run can go on
            while len(history) < last and not (stopped := stop()):
                started = time.perf_counter()
                loss, figures, leaks, drawn = step_loss(base, views, scene.handles, prior, settings, rng)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                history.append(figures)
                step = len(history)
                seconds, left = clock.step(phase, step, time.perf_counter() - started)
                if out is not None and save_every and step % save_every == 0:
                    write_checkpoint(phase)
                previews = _previews(base, scene.handles, settings) if _due(step, preview_every) else None
                maps = read_maps(base, views, scene.handles) if _due(step, maps_every) else None
                yield StepEvent(phase, step, settings.total, figures, leaks, seconds, left, drawn, previews, maps)
        concepts = Concepts(
            handles=scene.handles,
            names=scene.names,
            base=base.name,
            fingerprint=base.fingerprint,
            settings=settings.to_json(),
            steps=len(history),
            losses=tuple(history),
            embeddings=words.detach().cpu().float().clone(),
            change=trainable.change() if trainable else {},
            leak=read_leak(base, views, scene.handles),
        )
        if out is not None:
            if stopped and optimizer:
                write_checkpoint(phase)
            concepts.save(out, scene)
            if not stopped:
                checkpoint.path_for(out).unlink(missing_ok=True)
    return concepts


def first_rows(scene: Scene, base: Base, settings: Settings) -> torch.Tensor:
    """Where the handles begin, (K, D) float32: at the words of their names (section 3.1) or, with settings.pictured on
    a base that has a map of looks, at the codes of their cut-outs."""
    rows = initial_rows(base, scene.names)
    if settings.pictured and base.looks:
        things = [cutout(scene, index) for index in range(len(scene.concepts))]
        rows[: len(things)] = base.looks.codes(things, base.vae)
    return rows


def run_extraction(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    on_event: Callable[[StepEvent], None] = lambda event: None,
    **options,
) -> Concepts:
    """Run `extract` to its end, with its options, and return the Concepts; `on_event` is called after each step."""
    return run_through(extract(scene, base, settings, out, **options), on_event)


def run_through(work: Generator, on_event: Callable) -> object:
    """Go through a generator to its end: each event to `on_event`, the generator's return value to the caller."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        on_event(event)


def step_loss(
    base: Base, views: Views, handles: Sequence[str], prior: Prior | None, settings: Settings, rng: torch.Generator
) -> tuple[torch.Tensor, dict[str, float], dict[str, float], tuple[str, ...]]:
    """Draw and weigh one step: the losses of sections 3.1 to 3.3, over `batch` subsets and as many prior pictures.

    Returns the scalar to minimise, the figures of StepEvent.losses and .leak, and the handles drawn.
    """
    drawn = [draw_view(views, settings, rng) for _ in range(settings.batch)]
    picked, subsets = [view for view, _ in drawn], [subset for _, subset in drawn]
    prompts = [training_prompt([handles[k] for k in subset]) for subset in subsets]
    spread = torch.randn((len(drawn), *views.mean.shape[1:]), generator=rng).to(base.device)
    latents = views.mean[picked] + views.std[picked] * spread  # (B, C, h, w), a draw of the posterior
    masks = [views.masks[view, subset] for view, subset in drawn]
    union = torch.stack([mask.amax(0, keepdim=True) for mask in masks])  # (B, 1, h, w)
    if prior:
        chosen = torch.randint(len(prior.prompts), (settings.batch,), generator=rng).tolist()
        prompts += [prior.prompts[i] for i in chosen]
        latents = torch.cat([latents, prior.latents[chosen]])  # (2B, C, h, w): one pass for both
    noise = torch.randn(latents.shape, generator=rng).to(base.device)
    steps = base.scheduler.config.num_train_timesteps
    timesteps = torch.randint(steps, (len(latents),), generator=rng).to(base.device)
    noisy, target = base.noised(latents, noise, timesteps)

    own = len(subsets)
    with Recorder(base.unet, base.attention_layers, samples=own) as seen:
        prediction = base.predict(noisy, timesteps, prompts)
    mask = union if settings.masked else torch.ones_like(union)  # (B, 1, h, w)
    reconstruction = losses.masked_loss(prediction[:own], target[:own], mask)
    attention, leaks = 0.0, {}
    for attended, prompt, (view, subset) in zip(seen.mean(), prompts, drawn, strict=False):
        names = [handles[k] for k in subset]
        maps = token_maps(attended, places(base, prompt, names)).float()  # (k, s, s)
        cells = views.cells[view, subset]
        attention = attention + losses.attention_loss(maps, cells) / own
        leaks.update(zip(names, losses.leak(maps.detach(), cells).tolist(), strict=True))
    total = reconstruction + settings.attention_weight * attention
    parts = {"reconstruction": reconstruction, "attention": attention}
    if prior:
        parts["prior"] = losses.prior_loss(prediction[own:], target[own:])
        total = total + settings.prior_weight * parts["prior"]
    figures = {name: value.item() for name, value in {"total": total, **parts}.items()}
    return total, figures, leaks, tuple(handles[k] for k in sorted(set().union(*subsets)))


def draw_view(views: Views, settings: Settings, rng: torch.Generator) -> tuple[int, list[int]]:
    """Which picture a step looks at and which concepts of it: the photo or its mirror image, or an arrangement."""
    if settings.arranged and torch.rand((), generator=rng) < settings.arranged:
        view = 2 + int(torch.randint(len(views.shown) - 2, (), generator=rng))
        shown = views.shown[view]
        return view, [shown[i] for i in torch.randperm(len(shown), generator=rng)]
    subset = draw_subset(len(views.shown[0]), settings.union_sampling, rng)
    return int(torch.randint(2, (), generator=rng)) if settings.flip else 0, subset


def draw_subset(count: int, union_sampling: bool, rng: torch.Generator) -> list[int]:
    """Union sampling, section 3.2: how many concepts uniformly from 1..count, then which and in what order.

    Without it a single one, as in the ablation of section 4.1.
    """
    size = 1 + int(torch.randint(count, (), generator=rng)) if union_sampling else 1
    return torch.randperm(count, generator=rng)[:size].tolist()


def read_maps(base: Base, views: Views | Scene, handles: Sequence[str]) -> dict[str, np.ndarray]:
    """Where each handle looks in the photo: (s, s) float32 with peak 1. The base must know the handles."""
    views = Views.of(views, base) if isinstance(views, Scene) else views
    maps = losses.to_peak(_photo_maps(base, views, handles))
    return dict(zip(handles, maps.cpu().numpy(), strict=True))


def read_leak(base: Base, views: Views, handles: Sequence[str]) -> dict[str, float]:
    """The share of each handle's attention that falls outside its mask in the photo, 0..1, on the same maps."""
    shares = losses.leak(_photo_maps(base, views, handles), views.cells[0])
    return dict(zip(handles, shares.tolist(), strict=True))


@torch.no_grad()
def _photo_maps(base: Base, views: Views, handles: Sequence[str]) -> torch.Tensor:
    """(K, s, s): all handles stand in one prompt; the photo is noised to a third of the way, where it still shows."""
    timesteps = torch.tensor([base.scheduler.config.num_train_timesteps // 3], device=base.device)
    noise = torch.randn(views.mean[:1].shape, generator=torch.Generator().manual_seed(0)).to(base.device)
    noisy, _ = base.noised(views.mean[:1], noise, timesteps)
    prompt = training_prompt(handles)
    with Recorder(base.unet, base.attention_layers) as seen:
        base.predict(noisy, timesteps, [prompt])
    return token_maps(seen.mean()[0].float(), places(base, prompt, handles))


def _trainable(base: Base, settings: Settings):
    if settings.full:
        return adapter.whole(base, settings.rank, settings.full_weights)
    return adapter.lora(base, settings.rank, settings.seed, settings.unet_layers)


def _optimizer(
    words: torch.nn.Parameter, trainable: adapter.Trainable | None, settings: Settings
) -> torch.optim.Optimizer:
    if trainable is None:
        groups = [{"params": [words], "lr": settings.handle_rate}]
    else:
        groups = [
            {"params": [words], "lr": settings.late_handle_rate},
            {"params": list(trainable.parameters.values()), "lr": settings.weight_rate},
        ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, foreach=True)  # many small tensors


@torch.no_grad()
def _previews(base: Base, handles: Sequence[str], settings: Settings) -> dict[str, Image.Image]:
    prompts = [training_prompt([handle]) for handle in handles]
    generators = [torch.Generator().manual_seed(settings.seed) for _ in handles]  # the run's own must not move
    pictures = base.pipeline()(
        prompts, num_inference_steps=PREVIEW_STEPS, guidance_scale=base.guidance, generator=generators
    ).images
    return dict(zip(handles, pictures, strict=True))


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


class _Clock:
    """Foretells the time left from the steps so far of each phase."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.times: dict[int, list[float]] = {1: [], 2: []}

    def step(self, phase: int, step: int, seconds: float) -> tuple[float, float]:
        self.times[phase].append(seconds)
        pace = float(np.median(self.times[phase][-20:]))  # the first step is slow, and so is one with a busy machine
        left = (self.settings.steps[0] - step if phase == 1 else self.settings.total - step) * pace
        if phase == 1:
            left += self.settings.steps[1] * pace * PHASE_2_COST
        return seconds, left
