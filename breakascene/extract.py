"""The extraction: one photo with masks goes in, handles that draw its things come out (section 3 of the paper)."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from breakascene import checkpoint, learning, losses
from breakascene.attention import Recorder, token_maps
from breakascene.base import Base
from breakascene.checkpoint import Checkpoint
from breakascene.concepts import Concepts, check_target
from breakascene.errors import UserError
from breakascene.files import require_writable, sweep
from breakascene.handles import initial_rows, places, taught, training_prompt
from breakascene.memory import Choice, choose, ran_out, rest, sparing, thriftier
from breakascene.prior import prior_latents
from breakascene.scene import Scene, cutout
from breakascene.settings import FEW, Settings, adapted, preset
from breakascene.step import step_loss
from breakascene.views import ARRANGEMENTS, Views

__all__ = ["Settings", "StepEvent", "adapted", "extract", "preset", "read_maps", "run_extraction"]

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
    memory: Choice | None = None  # how memory is used; another one than before where it ran out


def extract(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    *,
    memory: str = "auto",
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    wanted: Callable[[], bool] = lambda: False,
    preview_every: int = 0,
    maps_every: int = 0,
    save_every: int = 100,
) -> Iterator[StepEvent]:
    """Learn the concepts of a scene. Yields an event after each step; the generator's return value is the Concepts.

    out: a folder for the result; a checkpoint lies beside it until all steps are done. memory: "auto" or a way of
    memory.WAYS; where memory runs out, the run goes on in the next more sparing way, from where it was or, if weights
    were moving, from its checkpoint (from the start without one). resume: go on from the checkpoint. stop: asked
    between steps; once true, what has been learned so far is returned (and saved). wanted: asked after each step
    whether its event shall have pictures and attention maps. preview_every, maps_every, save_every: steps between
    pictures, attention maps, checkpoints; 0 for never. None of them changes the outcome, which scene, base and settings
    decide (bit for bit on one CPU), but for memory="least", which rounds Adam's state.
    The base is in use until the generator ends or is closed, and is then as it was.
    Raises UserError if `out` cannot be written, the run to resume is another, the prompt of all is too long, or memory
    ran out in the most sparing way too.
    """
    identity = checkpoint.identity(scene, base, settings)
    if out is not None:
        check_target(require_writable(out, "folder"))
        for path in (Path(out), checkpoint.path_for(out)):
            sweep(path)
    elif resume:
        raise UserError("There is nothing to resume without a run folder: give --out.")
    run = _Run(scene, base, settings, out, identity, stop, wanted, preview_every, maps_every, save_every)
    saved = checkpoint.load(checkpoint.path_for(out), identity) if resume else None
    choice = choose(memory, base, settings)
    while True:
        try:
            return (yield from run.go(saved, choice))
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        # Only here, where the error is gone and with it all that it held, is the memory free again.
        choice, saved = thriftier(choice, base, settings), run.last()


@dataclass
class _Run:
    """A run and, once it is under way, how to get the state that it can go on from."""

    scene: Scene
    base: Base
    settings: Settings
    out: Path | str | None
    identity: dict
    stop: Callable[[], bool]
    wanted: Callable[[], bool]
    preview_every: int
    maps_every: int
    save_every: int
    last: Callable[[], Checkpoint | None] = lambda: None

    def go(self, saved: Checkpoint | None, choice: Choice) -> Generator[StepEvent, None, Concepts]:
        """Do all steps, from the saved state on if there is one."""
        scene, base, settings = self.scene, self.base, self.settings
        self.last = partial(_same, saved)
        rng = torch.Generator().manual_seed(settings.seed)
        if saved:
            rng.set_state(saved.random)
        arrangements = round(ARRANGEMENTS * max(1, len(scene.concepts) / FEW)) if settings.arranged else 0
        history = list(saved.losses) if saved else []
        trainable, parameters, optimizer, stopped = None, {}, None, False
        clock, keeps = _Clock(settings), self.out is not None and self.save_every

        def state() -> Checkpoint:
            tensors = {**parameters, **learning.adam_state(optimizer, parameters)}
            return Checkpoint(phase, history, self.identity, tensors, before)

        with ExitStack() as undo:
            undo.enter_context(sparing(base, settings, choice.way))  # first of all, to make room for the encoding
            views = Views.of(scene, base, arrangements, settings.seed, settings.flip_arranged)
            rows = saved.tensors["handles"] if saved else first_rows(scene, base, settings)
            words = undo.enter_context(taught(base, scene.handles, rows))
            places(base, training_prompt(scene.handles), scene.handles)  # raises if the longest prompt is cut off
            for phase in (1, 2):
                first, last = (0, settings.steps[0]) if phase == 1 else (settings.steps[0], settings.total)
                # Phase 2 is entered even where all its steps are done, because its weights are the result.
                if stopped or first == last or (phase == 1 and len(history) >= last):
                    continue
                prior = None
                if phase == 2:
                    if settings.prior_weight and len(history) < last:
                        prior = prior_latents(base, settings.prior_count, self.stop)
                    trainable = undo.enter_context(learning.trainable(base, settings))
                weights = trainable.parameters if trainable else {}
                parameters = {"handles": words, **weights}
                optimizer = learning.adamw(words, weights, settings, choice.way.eight_bit)
                if saved and saved.step > first:
                    learning.restore(saved.tensors, optimizer, parameters)
                before = rng.get_state()
                if keeps:
                    self.save(state())  # from here on a killed run can go on
                rest(base)
                whole = True  # but while the weights move
                try:
                    while len(history) < last and not (stopped := self.stop()):
                        started = time.perf_counter()
                        with Recorder(base.unet, base.attention_layers, settings.batch) as seen:
                            loss, figures, leaks, drawn = step_loss(
                                base, views, scene.handles, prior, settings, rng, seen
                            )
                            loss.backward()  # in here, for where memory is lean the layers run again
                        if phase == 2 and settings.falling:
                            learning.set_rates(optimizer, settings, (last - len(history)) / settings.steps[1])
                        whole = False
                        optimizer.step()
                        optimizer.zero_grad()
                        history.append(figures)
                        before, whole = rng.get_state(), True
                        step = len(history)
                        seconds, left = clock.step(phase, step, time.perf_counter() - started)
                        if keeps and step % self.save_every == 0:
                            self.save(state())
                        draw, look = _due(step, self.preview_every), _due(step, self.maps_every)
                        if self.wanted():
                            draw = look = True
                        previews = _previews(base, scene.handles, settings) if draw else None
                        maps = read_maps(base, views, scene.handles) if look else None
                        yield StepEvent(
                            phase, step, settings.total, figures, leaks, seconds, left, drawn, previews, maps, choice
                        )
                except (RuntimeError, MemoryError) as error:
                    if whole and ran_out(error):
                        self.last = partial(_same, state().apart())
                    raise
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
                memory=choice.way.name,
            )
            if self.out is not None:
                if stopped and optimizer:
                    self.save(state())
                concepts.save(self.out, scene)
                if not stopped:
                    checkpoint.path_for(self.out).unlink(missing_ok=True)
        return concepts

    def save(self, state: Checkpoint) -> None:
        path = checkpoint.path_for(self.out)
        checkpoint.save(path, state)
        self.last = partial(checkpoint.load, path, self.identity)


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


@torch.no_grad()
def _previews(base: Base, handles: Sequence[str], settings: Settings) -> dict[str, Image.Image]:
    pipeline, pictures = base.pipeline(), {}
    for handle in handles:  # one by one: nine pictures at once would want more memory than the steps
        generator = torch.Generator().manual_seed(settings.seed)  # the run's own must not move
        with base.autocast():
            drawn = pipeline(
                training_prompt([handle]),
                num_inference_steps=PREVIEW_STEPS,
                guidance_scale=base.guidance,
                generator=generator,
            )
        pictures[handle] = drawn.images[0]
    rest(base)
    return pictures


def _same(value):
    return value


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
