"""Resuming a run that ran out of memory, in a mode that needs less."""

import gc
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from breakascene.errors import UserError, is_out_of_memory
from breakascene.models.base import Base
from breakascene.training.checkpoint import Checkpoint, Checkpointer
from breakascene.training.memory import MemoryPlan, next_plan
from breakascene.training.settings import Settings
from breakascene.training.state import TrainState

HEADER_BYTES = 4_000_000  # more than the losses and names in a checkpoint take


class Recovery:
    """Where a run resumes after it ran out of memory: its last finished step, else its last checkpoint."""

    def __init__(self, saved: Checkpoint | None, checkpointer: Checkpointer):
        self.checkpointer = checkpointer
        self.load: Callable[[], Checkpoint | None] = lambda: saved

    def save_checkpoint(self, state: TrainState) -> None:
        """Write the state to disk, if the run keeps checkpoints, and resume from there."""
        if self.checkpointer.enabled:
            self.checkpointer.save(state.snapshot())
            self.load = self.checkpointer.load

    def save_finished(self, state: TrainState) -> None:
        """Write the state after the last step in little space, where the run itself could not be written.

        If there is no space beside the last checkpoint, it makes room, provided that its size suffices.
        """
        path, finished = self.checkpointer.path, state.snapshot(with_moments=False)
        try:
            self.checkpointer.save(finished)
        except UserError:
            needed = sum(tensor.nbytes for tensor in finished.tensors.values()) + HEADER_BYTES
            if not path.exists() or path.stat().st_size + shutil.disk_usage(path.parent).free < needed:
                return  # the last checkpoint stays
            path.unlink()
            self.checkpointer.save(finished)

    @contextmanager
    def keep(self, state: TrainState) -> Iterator[None]:
        """Copy the state to host memory if memory runs out inside the block while the weights are consistent."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if state.consistent and is_out_of_memory(error):
                copy = state.snapshot().detached()
                self.load = lambda: copy
            raise


def retry_out_of_memory(
    attempt: Callable[[Checkpoint | None, MemoryPlan, Recovery], Generator],
    saved: Checkpoint | None,
    plan: MemoryPlan,
    checkpointer: Checkpointer,
    base: Base,
    settings: Settings,
) -> Generator:
    """Run `attempt`, again with the next memory plan each time that it runs out of memory.

    Raises:
        UserError: If memory ran out in the most economical mode too.
    """
    while True:
        recovery = Recovery(saved, checkpointer)
        try:
            return (yield from attempt(saved, plan, recovery))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block the error is gone, and with it all that its frames hold
        gc.collect()
        plan, saved = next_plan(plan, base, settings), recovery.load()
