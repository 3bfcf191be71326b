"""The training step against that of November 2026, and the requirements of CUDA graph capture."""

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from helpers import november_step
from helpers.runs import short
from torch.utils._python_dispatch import TorchDispatchMode

from breakascene.models.attention import AttentionStore
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.training import optim
from breakascene.training.augment import TrainingData
from breakascene.training.graphs import GraphedStep, can_capture
from breakascene.training.loop import _run_step
from breakascene.training.prior import prior_latents
from breakascene.training.state import TrainState
from breakascene.training.step import compute_losses, sample_batch, sample_subset

CHANGES = {
    "plain": {},
    "four subsets": {"train_batch_size": 4, "composition_prob": 0.5, "left_to_right": True},
    "weights": {"train_batch_size": 2, "area_weighting": 1.0, "balance_sampling": 0.5, "normalize_channels": True},
    "no masked loss": {"masked_loss": False, "union_sampling": False, "random_flip": False},
}


@pytest.mark.parametrize("kind", ["tiny", "sd", "sd2", "sdxl"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_losses_and_gradients_are_those_of_november(kind, changes, scene, request):
    base = request.getfixturevalue(f"{kind}_base")
    settings = short(base, **changes)
    data, prior = TrainingData.for_run(scene, base, settings), prior_latents(base, 2)
    found = []
    for use_prior in (None, prior):
        with (
            with_handles(base, scene.handles, initial_embeddings(base, scene.names)) as embeddings,
            optim.trainable(base, settings) as trainable,
        ):
            parameters = [embeddings, *trainable.parameters.values()]
            total, parts = november_step.step(
                base, data, scene.handles, use_prior, settings, torch.Generator().manual_seed(4)
            )
            expected = [None if p.grad is None else p.grad.clone() for p in parameters]
            for parameter in parameters:
                parameter.grad = None
            batch = sample_batch(base, data, scene.handles, use_prior, settings, torch.Generator().manual_seed(4))
            with AttentionStore(base.unet, base.attention_layers, len(batch)) as store:
                losses = compute_losses(base, data, use_prior, batch, settings, store)
                losses.total.backward()
            torch.testing.assert_close(losses.total, total, rtol=1e-6, atol=0)
            assert losses.parts.keys() == parts.keys()
            for name, value in parts.items():
                torch.testing.assert_close(losses.parts[name], value, rtol=1e-5, atol=1e-9)
            for parameter, gradient in zip(parameters, expected, strict=True):
                assert (parameter.grad is None) == (gradient is None)
                if gradient is not None:
                    scale = gradient.abs().max().item()
                    torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5 * scale + 1e-12)
            found.append(losses.total.item())
    assert found[0] != found[1]


def _is_mask(index):
    return index is not None and index.dtype in (torch.bool, torch.uint8)


class NoHostRead(TorchDispatchMode):
    """Refuses operations that read a value on the host, whose output shape depends on values, or that copy a value from
    the host: a tensor made of Python numbers."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "item", "equal", "lift_fresh")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().removeprefix("aten::").split(".")[0]
        by_mask = name.startswith("index") and isinstance(args[1], list) and any(_is_mask(index) for index in args[1])
        assert name not in self.FORBIDDEN and not by_mask, f"{name} waits for the device or copies from the host"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["tiny", "sd", "sd2", "sdxl"])
@pytest.mark.parametrize("name", ["light", "paper"])
def test_a_step_is_static_and_reads_nothing_back(kind, name, scene, request):
    """The conditions of a capture, checked on a CPU: batches of one shape, and no value read up to the update."""
    base = request.getfixturevalue(f"{kind}_base")
    settings = short(base, name, train_batch_size=2)
    data, prior = TrainingData.for_run(scene, base, settings), prior_latents(base, 2)
    shapes = set()
    with (
        with_handles(base, scene.handles, initial_embeddings(base, scene.names)) as embeddings,
        optim.trainable(base, settings) as trainable,
    ):
        state = TrainState(base, settings, None)
        state.begin_phase(2, embeddings, trainable.parameters, False)
        for i in range(3):
            batch = sample_batch(base, data, scene.handles, prior, settings, state.rng)
            tensors = [*batch.input_ids, *(v for v in vars(batch).values() if isinstance(v, torch.Tensor))]
            shapes.add(tuple((tuple(t.shape), t.dtype) for t in tensors))
            state.set_learning_rates()
            with NoHostRead() if i else nullcontext():  # the first steps warm up: SDXL keeps its sizes
                losses = _run_step(base, data, prior, settings, state, batch)
            state.finish_step(losses)
        assert len(shapes) == 1
        assert len(state.losses) == state.step == 3
        assert not can_capture(state, base.device, False)  # there is no CUDA here


@pytest.mark.parametrize(
    "operation",
    [
        torch.Tensor.item,
        torch.nonzero,
        bool,
        lambda one: one[one > 0],
        lambda _: torch.tensor([1]),
    ],
)
def test_the_check_refuses_what_would_wait_for_a_gpu(operation):
    value = torch.ones(1)
    with NoHostRead(), pytest.raises(AssertionError, match="waits for the device"):
        operation(value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: captures a step as a graph")
@pytest.mark.parametrize("name", ["light", "paper"])
def test_a_captured_step_ends_like_an_eager_one(name, scene, tiny_folder):
    from breakascene.models.loading import load_base

    ends = []
    for graphed in (False, True):
        base = load_base(tiny_folder, "cuda")
        settings = short(base, name, train_batch_size=2)
        data, prior = TrainingData.for_run(scene, base, settings), prior_latents(base, 2)
        with (
            with_handles(base, scene.handles, initial_embeddings(base, scene.names)) as embeddings,
            optim.trainable(base, settings) as trainable,
        ):
            state = TrainState(base, settings, None)
            state.begin_phase(2, embeddings, trainable.parameters, False)

            def run_step(batch, base=base, data=data, prior=prior, settings=settings, state=state):
                return _run_step(base, data, prior, settings, state, batch)

            step = GraphedStep(run_step, state) if graphed else run_step
            for i in range(10):
                torch.cuda.set_sync_debug_mode("error" if i > 5 else "default")  # raises on every wait for the GPU
                try:
                    batch = sample_batch(base, data, scene.handles, prior, settings, state.rng)
                    state.set_learning_rates()
                    losses = step(batch)
                finally:
                    torch.cuda.set_sync_debug_mode("default")
                state.finish_step(losses)
            assert not graphed or step.graph is not None
            ends.append([losses["total"] for losses in state.losses])
    torch.testing.assert_close(torch.tensor(ends[0]), torch.tensor(ends[1]), rtol=1e-2, atol=1e-4)


def test_union_sampling_frequencies():
    rng = torch.Generator().manual_seed(0)
    samples = [sample_subset(3, True, rng) for _ in range(6000)]
    sizes = Counter(map(len, samples))
    assert all(abs(sizes[size] / 6000 - 1 / 3) < 0.02 for size in (1, 2, 3))
    subsets = Counter(tuple(sorted(sample)) for sample in samples)
    assert all(abs(subsets[one] / 6000 - 1 / 9) < 0.015 for one in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
    first = Counter(sample[0] for sample in samples if len(sample) == 3)
    assert all(abs(first[k] / sizes[3] - 1 / 3) < 0.04 for k in range(3))
    assert sample_subset(1, True, rng) == [0]
    alone = Counter(tuple(sample_subset(4, False, rng)) for _ in range(400))
    assert sorted(alone) == [(0,), (1,), (2,), (3,)] and min(alone.values()) > 60
