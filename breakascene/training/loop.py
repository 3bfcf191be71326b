"""The extraction: one photo with masks goes in, handles that draw its things come out (section 3 of the paper)."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from breakascene.data.scene import Scene, cutout
from breakascene.errors import UserError
from breakascene.files import require_writable, sweep
from breakascene.models.attention import AttentionStore
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts, check_run_folder
from breakascene.models.handles import initial_embeddings, token_positions, training_prompt, with_handles
from breakascene.training import checkpoint, optim
from breakascene.training.augment import NUM_COMPOSITIONS, TrainingData
from breakascene.training.checkpoint import Checkpoint
from breakascene.training.memory import MemoryPlan, is_out_of_memory, memory_mode, next_plan, offload_vae, plan_memory
from breakascene.training.monitor import TimeEstimator, attention_leak, attention_maps, draw_previews
from breakascene.training.prior import prior_latents
from breakascene.training.settings import FEW_CONCEPTS, Settings, adapted, preset
from breakascene.training.step import step_loss

__all__ = ["Settings", "StepEvent", "adapted", "extract", "preset", "run_extraction"]


@dataclass(frozen=True, eq=False)
class StepEvent:
    """What one step did. Maps are (s, s) float32 with peak 1, and lie over `scene.square_crop(base.image_size).pixels`."""

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
    memory: MemoryPlan | None = None  # how memory is used; another one than before where it ran out


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
    memory.MEMORY_MODES; where memory runs out, the run goes on in the next more sparing way, from where it was or, if weights
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
        check_run_folder(require_writable(out, "folder"))
        for path in (Path(out), checkpoint.path_for(out)):
            sweep(path)
    elif resume:
        raise UserError("There is nothing to resume without a run folder: give --out.")
    run = _Run(scene, base, settings, out, identity, stop, wanted, preview_every, maps_every, save_every)
    saved = checkpoint.load(checkpoint.path_for(out), identity) if resume else None
    choice = plan_memory(memory, base, settings)
    while True:
        try:
            return (yield from run.go(saved, choice))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here, where the error is gone and with it all that it held, is the memory free again.
        choice, saved = next_plan(choice, base, settings), run.last()


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

    def go(self, saved: Checkpoint | None, choice: MemoryPlan) -> Generator[StepEvent, None, Concepts]:
        """Do all steps, from the saved state on if there is one."""
        scene, base, settings = self.scene, self.base, self.settings
        self.last = partial(_same, saved)
        rng = torch.Generator().manual_seed(settings.seed)
        scaler = optim.scaler(base)
        if saved:
            rng.set_state(saved.random)
            optim.restore_scaler(saved.tensors, scaler)
        arrangements = (
            round(NUM_COMPOSITIONS * max(1, len(scene.concepts) / FEW_CONCEPTS)) if settings.composition_prob else 0
        )
        history = list(saved.losses) if saved else []
        trainable, parameters, optimizer, stopped = None, {}, None, False
        clock, keeps = TimeEstimator(settings), self.out is not None and self.save_every

        def state() -> Checkpoint:
            moments = optim.optimizer_state(optimizer, parameters)
            tensors = {**parameters, **moments, **optim.scaler_state(scaler)}
            return Checkpoint(phase, history, self.identity, tensors, before)

        with ExitStack() as undo:
            undo.enter_context(memory_mode(base, settings, choice.mode))  # first of all, to make room for the encoding
            views = TrainingData.of(scene, base, arrangements, settings.seed, settings.flip_compositions)
            rows = saved.tensors["handles"] if saved else initial_handle_embeddings(scene, base, settings)
            words = undo.enter_context(with_handles(base, scene.handles, rows))
            token_positions(
                base, training_prompt(scene.handles), scene.handles
            )  # raises if the longest prompt is cut off
            for phase in (1, 2):
                first, last = (0, settings.steps[0]) if phase == 1 else (settings.steps[0], settings.total)
                # Phase 2 is entered even where all its steps are done, because its weights are the result.
                if stopped or first == last or (phase == 1 and len(history) >= last):
                    continue
                prior = None
                if phase == 2:
                    if settings.prior_loss_weight and len(history) < last:
                        prior = prior_latents(base, settings.num_prior_images, self.stop)
                    trainable = undo.enter_context(optim.trainable(base, settings))
                weights = trainable.parameters if trainable else {}
                parameters = {"handles": words, **weights}
                optimizer = optim.make_optimizer(words, weights, settings, choice.mode.eight_bit)
                if saved and saved.step > first:
                    optim.restore(saved.tensors, optimizer, parameters)
                before = rng.get_state()
                if keeps:
                    self.save(state())  # from here on a killed run can go on
                offload_vae(base)
                whole = True  # but while the weights move
                try:
                    while len(history) < last and not (stopped := self.stop()):
                        started = time.perf_counter()
                        with AttentionStore(base.unet, base.attention_layers, settings.train_batch_size) as seen:
                            loss, figures, leaks, drawn = step_loss(
                                base, views, scene.handles, prior, settings, rng, seen
                            )
                            scaler.scale(loss).backward()  # in here, for where memory is lean the layers run again
                        if phase == 2 and settings.lr_scheduler == "linear":
                            optim.set_learning_rates(optimizer, settings, (last - len(history)) / settings.steps[1])
                        whole = False
                        scaler.step(optimizer)
                        scaler.update()
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
                        previews = draw_previews(base, scene.handles, settings) if draw else None
                        maps = attention_maps(base, views, scene.handles) if look else None
                        yield StepEvent(
                            phase, step, settings.total, figures, leaks, seconds, left, drawn, previews, maps, choice
                        )
                except (RuntimeError, MemoryError) as error:
                    if whole and is_out_of_memory(error):
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
                delta=trainable.delta() if trainable else {},
                leak=attention_leak(base, views, scene.handles),
                memory=choice.mode.name,
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


def initial_handle_embeddings(scene: Scene, base: Base, settings: Settings) -> torch.Tensor:
    """Where the handles begin, (K, D) float32: at the words of their names (section 3.1) or, with settings.init_from_image on
    a base that has a map of looks, at the codes of their cut-outs."""
    rows = initial_embeddings(base, scene.names)
    if settings.init_from_image and base.image_codes:
        things = [cutout(scene, index) for index in range(len(scene.concepts))]
        rows[: len(things)] = base.image_codes.codes(things, base.vae)
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
    return exhaust(extract(scene, base, settings, out, **options), on_event)


def exhaust(work: Generator, on_event: Callable) -> object:
    """Go through a generator to its end: each event to `on_event`, the generator's return value to the caller."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        on_event(event)


def _same(value):
    return value


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
