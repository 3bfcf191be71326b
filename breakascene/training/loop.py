"""The two-phase extraction: a photo with masks in, handles that generate its objects out (section 3 of the paper)."""

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
from breakascene.training.augment import TrainingData
from breakascene.training.checkpoint import Checkpoint, Checkpointer
from breakascene.training.memory import MemoryPlan, memory_mode, offload_vae, plan_memory
from breakascene.training.monitor import TimeEstimator, attention_leak, attention_maps, draw_previews
from breakascene.training.prior import prior_latents
from breakascene.training.recovery import Recovery, retry_out_of_memory
from breakascene.training.settings import Settings
from breakascene.training.state import TrainState
from breakascene.training.step import compute_losses, sample_batch


@dataclass(frozen=True, eq=False)
class StepEvent:
    """The outcome of one step. Maps are (s, s) float32 with peak 1, over `scene.square_crop(base.image_size).pixels`."""

    phase: int  # 1 or 2
    step: int  # from 1, over both phases
    total: int  # steps of both phases
    losses: dict[str, float]  # "total", "reconstruction", "attention", and in phase 2 with prior images "prior"
    leak: dict[str, float]  # by handle of the batch: share of its attention outside its mask, 0..1
    seconds: float  # that the step took
    seconds_left: float
    handles: tuple[str, ...]  # of the batch
    previews: dict[str, Image.Image] | None = None  # by handle
    maps: dict[str, np.ndarray] | None = None  # by handle
    memory: MemoryPlan | None = None


@dataclass(frozen=True)
class Reports:
    """When a run reports more than its losses; steps between two of a kind, 0 for never."""

    stop: Callable[[], bool] = lambda: False
    preview_requested: Callable[[], bool] = lambda: False
    preview_every: int = 0
    maps_every: int = 0


def extract(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    *,
    memory: str = "auto",
    resume: bool = False,
    save_every: int = 100,
    **reports,
) -> Iterator[StepEvent]:
    """Extract the concepts of a scene. Yields an event after each step; the generator's return value is the Concepts.

    The base is in use until the generator ends or is closed, and is then as it was. Scene, base and settings decide the
    result (bit for bit on one CPU); no other argument changes it, except memory="least", which rounds Adam's state.

    Args:
        scene: The photo with its masks and names.
        base: The model to fine-tune.
        settings: See `preset`.
        out: Folder of the result. A checkpoint lies beside it until all steps are done.
        memory: "auto" or the name of a mode in memory.MEMORY_MODES. Where memory runs out, the run resumes in the next
            mode from its last step or, if weights were being updated, from its last checkpoint.
        resume: Resume from the checkpoint.
        save_every: Steps between two checkpoints, 0 for none.
        reports: Fields of Reports: `stop` is asked between steps and, once true, ends the run with the concepts
            extracted so far; `preview_requested` is asked after each step.

    Raises:
        UserError: If `out` cannot be written, the checkpoint is of another run, the prompt of all handles is too long,
            or memory ran out in the most economical mode too.
    """
    identity = checkpoint.identity(scene, base, settings)
    if out is not None:
        check_run_folder(require_writable(out, "folder"))
        for path in (Path(out), checkpoint.path_for(out)):
            sweep(path)
    elif resume:
        raise UserError("There is nothing to resume without a run folder: give --out.")
    saved = checkpoint.load(checkpoint.path_for(out), identity) if resume else None
    checkpointer = Checkpointer(checkpoint.path_for(out) if out is not None else None, identity, save_every)
    attempt = partial(_train, scene, base, settings, out, Reports(**reports))
    plan = plan_memory(memory, base, settings)
    return (yield from retry_out_of_memory(attempt, saved, plan, checkpointer, base, settings))


def _train(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None,
    reports: Reports,
    saved: Checkpoint | None,
    plan: MemoryPlan,
    recovery: Recovery,
) -> Generator[StepEvent, None, Concepts]:
    """Do all steps, from the saved checkpoint if there is one, and return (and save) the concepts."""
    handles, clock, stopped, trainable = scene.handles, TimeEstimator(settings), False, None
    with ExitStack() as stack:
        stack.enter_context(memory_mode(base, settings, plan.mode))  # first, to make room for the encoding
        data = TrainingData.for_run(scene, base, settings)
        state = TrainState(base, settings, saved)
        start = saved.tensors["handles"] if saved else initial_handle_embeddings(scene, base, settings)
        embeddings = stack.enter_context(with_handles(base, handles, start))
        token_positions(base, training_prompt(handles), handles)  # raises if the longest prompt is truncated

        # Phase 1 trains the handles' embeddings, phase 2 the weights of UNet and text encoders as well
        for phase, last in ((1, settings.steps[0]), (2, settings.total)):
            # Phase 2 is entered even where all its steps are done: its weights are part of the result
            if stopped or settings.steps[phase - 1] == 0 or (phase == 1 and state.step >= last):
                continue
            prior = None
            if phase == 2:
                if settings.prior_loss_weight and state.step < last:
                    prior = prior_latents(base, settings.num_prior_images, reports.stop)
                trainable = stack.enter_context(optim.trainable(base, settings))
            state.begin_phase(phase, embeddings, trainable.parameters if trainable else {}, plan.mode.eight_bit)
            recovery.save_checkpoint(state)  # from here on a killed run can be resumed
            offload_vae(base)
            with recovery.keep(state):
                while state.step < last and not (stopped := reports.stop()):
                    started = time.perf_counter()
                    # Sample batch
                    batch = sample_batch(base, data, handles, prior, settings, state.rng)
                    with AttentionStore(base.unet, base.attention_layers, len(batch)) as store:
                        # Forward and losses
                        losses = compute_losses(base, data, prior, batch, settings, store)
                        # Backward
                        state.scaler.scale(losses.total).backward()
                    # Update
                    state.update()
                    # Report
                    values = state.finish_step(losses)
                    seconds, seconds_left = clock.step(phase, state.step, time.perf_counter() - started)
                    if recovery.checkpointer.due(state.step):
                        recovery.save_checkpoint(state)
                    requested = reports.preview_requested()
                    preview = requested or _due(state.step, reports.preview_every)
                    maps = requested or _due(state.step, reports.maps_every)
                    yield StepEvent(
                        phase=phase,
                        step=state.step,
                        total=settings.total,
                        losses=values,
                        leak=_leak_by_handle(handles, batch.subsets, losses.leak),
                        seconds=seconds,
                        seconds_left=seconds_left,
                        handles=tuple(handles[k] for k in sorted(set().union(*batch.subsets))),
                        previews=draw_previews(base, handles, settings) if preview else None,
                        maps=attention_maps(base, data, handles) if maps else None,
                        memory=plan,
                    )

        concepts = Concepts(
            handles=handles,
            names=scene.names,
            base=base.name,
            fingerprint=base.fingerprint,
            settings=settings.to_json(),
            steps=state.step,
            losses=tuple(state.losses),
            embeddings=embeddings.detach().cpu().float().clone(),
            delta=trainable.delta() if trainable else {},
            leak=attention_leak(base, data, handles),
            memory=plan.mode.name,
        )
        if out is not None:
            if stopped and state.optimizer:
                recovery.save_checkpoint(state)
            concepts.save(out, scene)
            if not stopped:
                recovery.checkpointer.remove()
    return concepts


def initial_handle_embeddings(scene: Scene, base: Base, settings: Settings) -> torch.Tensor:
    """Token embeddings (K, D) float32 at which the handles start.

    The mean of the embeddings of the name's tokens or, with settings.init_from_image on a base that has a map for them,
    the image codes of the cut-outs.
    """
    embeddings = initial_embeddings(base, scene.names)
    if settings.init_from_image and base.image_codes:
        cutouts = [cutout(scene, index) for index in range(len(scene.concepts))]
        embeddings[: len(cutouts)] = base.image_codes.codes(cutouts, base.vae)
    return embeddings


def run_extraction(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    on_event: Callable[[StepEvent], None] = lambda event: None,
    **options,
) -> Concepts:
    """Run `extract` to its end with its options and return the Concepts; `on_event` is called after each step."""
    return exhaust(extract(scene, base, settings, out, **options), on_event)


def exhaust(generator: Generator, on_event: Callable) -> object:
    """Run a generator to its end: each event goes to `on_event`, its return value to the caller."""
    while True:
        try:
            event = next(generator)
        except StopIteration as end:
            return end.value
        on_event(event)


def _leak_by_handle(
    handles: tuple[str, ...], subsets: tuple[tuple[int, ...], ...], leak: torch.Tensor
) -> dict[str, float]:
    values = leak.tolist()  # (B, K)
    return {handles[k]: values[b][k] for b, subset in enumerate(subsets) for k in subset}


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
