"""The state that changes with each step: trained parameters, optimizer, random generator, losses."""

import torch

from breakascene.models.base import Base
from breakascene.training import optim
from breakascene.training.checkpoint import Checkpoint
from breakascene.training.settings import Settings
from breakascene.training.step import StepLosses


class TrainState:
    """The state of a run between two steps, from which a snapshot can resume it bit for bit."""

    def __init__(self, base: Base, settings: Settings, saved: Checkpoint | None):
        self.settings, self.saved = settings, saved
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.scaler = optim.make_scaler(base)
        self._losses: list[dict[str, float]] = []
        self._names: tuple[str, ...] = ()
        self._unread: list[torch.Tensor] = []  # losses of steps of one phase
        if saved:
            self.rng.set_state(saved.random)
            optim.load_scaler_state(self.scaler, saved.tensors)
            self._losses = list(saved.losses)
        self.step = len(self._losses)  # steps done, over both phases
        self.phase = 0
        self.parameters: dict[str, torch.Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        self.consistent = True  # False while the optimizer updates the weights

    def begin_phase(
        self, phase: int, embeddings: torch.nn.Parameter, weights: dict[str, torch.nn.Parameter], eight_bit: bool
    ) -> None:
        """Set up the optimizer of a phase, and restore the saved state if the saved step lies in it."""
        _ = self.losses  # read those of the previous phase, which have other names
        self.phase = phase
        self.parameters = {"handles": embeddings, **weights}
        self.optimizer = optim.make_optimizer(embeddings, weights, self.settings, eight_bit)
        first = 0 if phase == 1 else self.settings.steps[0]
        if self.saved and self.saved.step > first:
            optim.load_optimizer_state(self.saved.tensors, self.optimizer, self.parameters)
        self.rng_at_step = self.rng.get_state()

    def set_learning_rates(self) -> None:
        """Set the learning rates of the next step."""
        if self.phase == 2 and self.settings.lr_scheduler == "linear":
            remaining = (self.settings.total - self.step) / self.settings.steps[1]
            optim.set_learning_rates(self.optimizer, self.settings, remaining)

    def update(self) -> None:
        """Step the optimizer by the gradients of the last backward pass, clipped if the settings say so."""
        self.consistent = False
        if self.settings.max_grad_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def finish_step(self, losses: StepLosses) -> None:
        """Count a step. Its losses stay on the device until `losses` is read."""
        self._names = ("total", *losses.parts)
        self._unread.append(torch.stack([losses.total.detach(), *(part.detach() for part in losses.parts.values())]))
        self.step += 1
        self.rng_at_step, self.consistent = self.rng.get_state(), True

    @property
    def losses(self) -> list[dict[str, float]]:
        """The losses of all steps done, "total" first."""
        if self._unread:
            values = torch.stack(self._unread).tolist()
            self._losses += [dict(zip(self._names, step_values, strict=True)) for step_values in values]
            self._unread.clear()
        return self._losses

    def snapshot(self, with_moments: bool = True) -> Checkpoint:
        """The state after the last finished step. Its tensors are those in use: save or copy it before the next.

        Without the optimizer's moments it takes a third of the space, and serves only a run that has done all steps.
        """
        moments = optim.optimizer_state(self.optimizer, self.parameters) if with_moments else {}
        tensors = {**self.parameters, **moments, **optim.scaler_state(self.scaler)}
        return Checkpoint(self.phase, self.losses, tensors, self.rng_at_step)
