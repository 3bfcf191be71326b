"""The two-phase extraction: a photo with masks in, handles that generate its objects out (section 3 of the paper)."""

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch

from breakascene.data.scene import MAX_TOGETHER, Scene, cutout
from breakascene.errors import UserError, system_reason
from breakascene.files import locked, remove_partial_files, require_writable
from breakascene.models.attention import AttentionStore
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts, check_run_folder
from breakascene.models.grouped import GroupedConcepts
from breakascene.models.handles import initial_embeddings, token_positions, training_prompt, with_handles
from breakascene.provenance import audit, consent
from breakascene.training import checkpoint, optim
from breakascene.training.augment import TrainingData
from breakascene.training.checkpoint import Checkpoint, Checkpointer
from breakascene.training.events import Reporter, ReportOptions, StepEvent
from breakascene.training.graphs import GraphedStep, can_capture
from breakascene.training.groups import extract_groups
from breakascene.training.memory import MemoryPlan, memory_mode, offload_vae, plan_memory
from breakascene.training.monitor import attention_leak
from breakascene.training.prior import Prior, prior_latents
from breakascene.training.recovery import Recovery, retry_out_of_memory
from breakascene.training.settings import Settings
from breakascene.training.state import TrainState
from breakascene.training.step import Batch, StepLosses, compute_losses, sample_batch


def extract(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    *,
    memory: str = "auto",
    resume: bool = False,
    save_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
    preview_requested: Callable[[], bool] = lambda: False,
    preview_every: int = 0,
    maps_every: int = 0,
) -> Generator[StepEvent, None, Concepts | GroupedConcepts]:
    """Extract the concepts of a scene. Yields an event after each step; the generator's return value is the Concepts.

    The base is in use from the first step until the generator ends or is closed, and is then as it was: other threads
    wait, and the same thread must not use the base in between. Scene, base and settings decide the
    result (bit for bit on one CPU); no other argument changes it, except memory="least", which rounds Adam's state.
    More than MAX_TOGETHER concepts are extracted in groups, with these settings each; see groups.py.

    Args:
        scene: The photo with its masks and names.
        base: The model to fine-tune.
        settings: See `preset`.
        out: Folder of the result. A checkpoint lies beside it until all steps are done.
        memory: "auto" or the name of a mode in modes.MEMORY_MODES. Where memory runs out, the run resumes in the next
            mode from its last step or, if weights were being updated, from its last checkpoint.
        resume: Resume from the checkpoint.
        save_every: Steps between two checkpoints, 0 for none.
        stop: Called between steps; once it returns True, the run ends with the concepts extracted so far.
        preview_requested: Called after each step; if it returns True, the event has previews and attention maps.
        preview_every: Steps between two events with previews, 0 for none.
        maps_every: Steps between two events with attention maps, 0 for none.

    Raises:
        UserError: If the photo must not be learned (see provenance.consent), `out` cannot be written, the checkpoint
            is of another run, the prompt of all handles is too long, or memory ran out in the most economical mode too.
    """
    options = ReportOptions(stop, preview_requested, preview_every, maps_every)
    consent.check_scene(scene)
    about = {
        "photos": [photo.photo_hash for photo, _ in scene.photos()],
        "objects": list(scene.names),
        "consents": [declared.to_json() for declared in scene.consents],
    }
    audit.record("extract", **about, base=base.name, fingerprint=base.fingerprint, settings=settings.to_json())
    with nullcontext() if out is None else _run_folder(out, resume):
        if len(scene.concepts) <= MAX_TOGETHER:
            return (yield from _extract(scene, base, settings, out, memory, resume, save_every, options))

        def extract_one(scene: Scene, out: Path | None, resume: bool, options: ReportOptions) -> Generator:
            return _extract(scene, base, settings, out, memory, resume, save_every, options)

        return (yield from extract_groups(extract_one, scene, base, settings, out, resume, options))


@contextmanager
def _run_folder(out: Path | str, resume: bool) -> Iterator[None]:
    """Check that a run can be written to the folder, and keep other extractions out of it."""
    path = checkpoint.path_for(out)
    require_writable(out, "folder")
    require_writable(path, "file")  # a mount point may be writable, but nothing beside it
    with locked(out):
        for written in (out, path):
            remove_partial_files(written)
        check_run_folder(out)
        if resume and not checkpoint.can_resume(out) and (Path(out) / "manifest.json").is_file():
            raise UserError(f"The run in {out} is finished: generate from it, or extract to another folder.")
        yield


def _extract(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None,
    memory: str,
    resume: bool,
    save_every: int,
    options: ReportOptions,
) -> Generator[StepEvent, None, Concepts]:
    if out is None and resume:
        raise UserError("There is nothing to resume without a run folder: give its path as `out`.")
    identity = checkpoint.identity(scene, base, settings)
    saved = checkpoint.load(checkpoint.path_for(out), identity) if resume else None
    checkpointer = Checkpointer(checkpoint.path_for(out) if out is not None else None, identity, save_every)
    attempt = partial(_train, scene, base, settings, out, options)
    gc.collect()  # memory that earlier runs left behind counts as free

    def steps() -> Generator[StepEvent, None, Concepts]:
        plan = plan_memory(memory, base, settings)
        return (yield from retry_out_of_memory(attempt, saved, plan, checkpointer, base, settings))

    return (yield from base.lock.hold_over(steps()))


def _train(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None,
    options: ReportOptions,
    saved: Checkpoint | None,
    plan: MemoryPlan,
    recovery: Recovery,
) -> Generator[StepEvent, None, Concepts]:
    """Do all steps, from the saved checkpoint if there is one, and return (and save) the concepts."""
    handles, eight_bit, stopped, trainable = scene.handles, plan.mode.eight_bit, False, None
    with ExitStack() as stack:
        # Data, state and handles
        stack.enter_context(memory_mode(base, plan.mode))  # first, to make room for the encoding
        data = TrainingData.for_run(scene, base, settings)
        state = TrainState(base, settings, saved)
        reporter = Reporter(base, data, handles, settings, plan, options)
        start = saved.tensors["handles"] if saved else initial_handle_embeddings(scene, base, settings)
        if start.shape != (len(handles), base.embedding_dim) or state.step > settings.total:
            raise UserError("The checkpoint does not fit the run: delete it and start again.")
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
                    prior = prior_latents(base, settings.num_prior_images, settings.prior_prompts, options.stop)
                    stopped = prior is None
                trainable = stack.enter_context(optim.trainable(base, settings))
            state.begin_phase(phase, embeddings, trainable.parameters if trainable else {}, eight_bit)
            if saved is None or state.step > saved.step or phase != saved.phase:
                recovery.save_checkpoint(state)  # from here on a killed run can be resumed
            offload_vae(base)
            run_step = partial(_run_step, base, data, prior, settings, state)
            if can_capture(state, base.device, eight_bit):
                run_step = GraphedStep(run_step, state)
            with recovery.keep(state):
                reporter.start_phase()
                while not stopped and state.step < last and not (stopped := options.stop()):
                    # Sample batch
                    batch = sample_batch(base, data, handles, prior, settings, state.rng)
                    # Forward, losses, backward, update
                    state.set_learning_rates()
                    losses = run_step(batch)
                    state.finish_step(losses)
                    # Report
                    reporter.add(state.step, batch, losses)
                    if recovery.checkpointer.due(state.step):
                        recovery.save_checkpoint(state)
                    if reporter.ready:
                        yield from reporter.events(state)
                yield from reporter.events(state)

        # Result
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
            photo=scene.photo_hash,
            consents=scene.consents,
        )
        if out is not None:
            _save_run(concepts, scene, out, state, recovery, stopped)
    return concepts


def _run_step(
    base: Base, data: TrainingData, prior: Prior | None, settings: Settings, state: TrainState, batch: Batch
) -> StepLosses:
    """One step on a batch, without host synchronization, so that CUDA can capture it."""
    with AttentionStore(base.unet, base.attention_layers, len(batch)) as store:
        # Forward and losses
        losses = compute_losses(base, data, prior, batch, settings, store)
        # Backward, while the store is active: gradient checkpointing runs the layers again
        state.scaler.scale(losses.total).backward()
    # Update
    state.update()
    return losses


def _save_run(
    concepts: Concepts, scene: Scene, out: Path | str, state: TrainState, recovery: Recovery, stopped: bool
) -> None:
    """Write the run folder; a stopped run also keeps a checkpoint, a finished one removes it.

    If the folder of a finished run cannot be written, the result is kept as a checkpoint, which takes less space.
    """
    if stopped and state.optimizer:
        recovery.save_checkpoint(state)
    try:
        audit.record("extracted", run=concepts.id, photo=concepts.photo, steps=concepts.steps)
        concepts.save(out, scene)
    except UserError as error:
        if stopped or not state.optimizer or not recovery.checkpointer.enabled:
            raise
        recovery.save_finished(state)
        raise UserError(
            f"All steps are done, but the run cannot be written to {out} ({system_reason(error.__cause__)}): free some "
            "space, then resume the run to finish it."
        ) from error
    if not stopped:
        recovery.checkpointer.remove()


def initial_handle_embeddings(scene: Scene, base: Base, settings: Settings) -> torch.Tensor:
    """Token embeddings (K, D) float32 at which the handles start.

    The mean of the embeddings of the name's tokens or, with settings.init_from_image on a base that has a map for them,
    the image codes of the cut-outs.
    """
    embeddings = initial_embeddings(base, scene.names)
    if settings.init_from_image and base.image_codes:
        cutouts = [cutout(scene, index) for index in range(len(scene.concepts))]
        embeddings[: len(cutouts)] = base.image_codes.encode(cutouts, base.vae)
    return embeddings


def run_extraction(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None = None,
    on_event: Callable[[StepEvent], None] = lambda event: None,
    **options,
) -> Concepts | GroupedConcepts:
    """Run `extract` to its end and return the Concepts.

    Args:
        scene, base, settings, out: As for `extract`.
        on_event: Called after each step.
        options: The keyword arguments of `extract`.
    """
    return exhaust(extract(scene, base, settings, out, **options), on_event)


def exhaust(generator: Generator, on_event: Callable) -> object:
    """Run a generator to its end, call `on_event` with each event, and return the generator's return value."""
    while True:
        try:
            event = next(generator)
        except StopIteration as end:
            return end.value
        on_event(event)
