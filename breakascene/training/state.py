"""What changes from step to step: trained parameters, optimizer, random numbers, losses so far."""

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
        self.losses: list[dict[str, float]] = []
        if saved:
            self.rng.set_state(saved.random)
            optim.load_scaler_state(self.scaler, saved.tensors)
            self.losses = list(saved.losses)
        self.phase = 0
        self.parameters: dict[str, torch.Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        self.consistent = True  # False while the optimizer moves the weights

    @property
    def step(self) -> int:
        """Steps done, over both phases."""
        return len(self.losses)

    def begin_phase(
        self, phase: int, embeddings: torch.nn.Parameter, weights: dict[str, torch.nn.Parameter], eight_bit: bool
    ) -> None:
        """Set up the optimizer of a phase, and put saved values back if the saved step lies in it."""
        self.phase = phase
        self.parameters = {"handles": embeddings, **weights}
        self.optimizer = optim.make_optimizer(embeddings, weights, self.settings, eight_bit)
        first = 0 if phase == 1 else self.settings.steps[0]
        if self.saved and self.saved.step > first:
            optim.load_optimizer_state(self.saved.tensors, self.optimizer, self.parameters)
        self.rng_at_step = self.rng.get_state()

    def update(self) -> None:
        """Step the optimizer by the gradients of the last backward pass."""
        if self.phase == 2 and self.settings.lr_scheduler == "linear":
            remaining = (self.settings.total - self.step) / self.settings.steps[1]
            optim.set_learning_rates(self.optimizer, self.settings, remaining)
        self.consistent = False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def finish_step(self, losses: StepLosses) -> dict[str, float]:
        """Count the step and return its losses as floats, "total" first."""
        values = {name: value.item() for name, value in {"total": losses.total, **losses.parts}.items()}
        self.losses.append(values)
        self.rng_at_step, self.consistent = self.rng.get_state(), True
        return values

    def snapshot(self) -> Checkpoint:
        """The state after the last finished step. Its tensors are the live ones: save or copy it before the next."""
        moments = optim.optimizer_state(self.optimizer, self.parameters)
        tensors = {**self.parameters, **moments, **optim.scaler_state(self.scaler)}
        return Checkpoint(self.phase, self.losses, tensors, self.rng_at_step)
