"""Learning rates, and AdamW's state: in 8 bits, in float32, and in a checkpoint."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from helpers.runs import assert_same, short, stop_after

from breakascene.training import optim
from breakascene.training.loop import run_extraction
from breakascene.training.modes import MEMORY_MODES
from breakascene.training.optim import set_learning_rates
from breakascene.training.settings import Settings

FAST, LEAN, LEAST = MEMORY_MODES
KINDS = ("light", "paper")


def test_linear_schedule_decays_the_learning_rates_of_phase_2(tiny_base, scene, monkeypatch):
    rates = []

    def recorded(optimizer, settings, factor):
        set_learning_rates(optimizer, settings, factor)
        rates.append([group["lr"] for group in optimizer.param_groups])

    monkeypatch.setattr("breakascene.training.optim.set_learning_rates", recorded)
    settings = short(tiny_base, steps=(1, 4), weight_lr=4e-3, handle_lr_phase2=8e-3, lr_scheduler="linear")
    run_extraction(scene, tiny_base, settings)
    np.testing.assert_allclose(rates, np.outer([4, 3, 2, 1], [2e-3, 1e-3]))
    run_extraction(scene, tiny_base, dataclasses.replace(settings, lr_scheduler="constant"))
    assert len(rates) == 4


@pytest.fixture
def eight_bit(monkeypatch):
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(optim, "MIN_8BIT_SIZE", 1024)  # the test weights are tiny


@pytest.mark.parametrize("name", KINDS)
def test_eight_bit_state_is_close_and_resumes_to_the_same_end(tiny_base, scene, full_runs, tmp_path, eight_bit, name):
    settings, out = short(tiny_base, name), tmp_path / "run"
    uninterrupted = run_extraction(scene, tiny_base, settings, memory="least")
    totals = [[step["total"] for step in run.losses] for run in (uninterrupted, full_runs[name])]
    assert uninterrupted.memory == "least" and totals[0] == pytest.approx(totals[1], rel=0.02)
    part = run_extraction(scene, tiny_base, settings, out, memory="least", stop=stop_after(5))
    assert part.steps == 5
    assert_same(run_extraction(scene, tiny_base, settings, out, memory="least", resume=True), uninterrupted)


def test_eight_bit_state_converts_to_float32_and_back(eight_bit):
    import bitsandbytes

    def make(eight_bit, size):
        weight = torch.nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(0)))
        embeddings = torch.nn.Parameter(weight.detach()[:1, :5].clone())
        optimizer = optim.make_optimizer(embeddings, {"w": weight}, Settings(), eight_bit)
        return {"handles": embeddings, "unet.weight": weight}, optimizer

    def state(parameters, optimizer):
        return {**{name: p.detach() for name, p in parameters.items()}, **optim.optimizer_state(optimizer, parameters)}

    parameters, optimizer = make(True, (9, 301))
    for _ in range(3):
        sum(((p - 0.5) ** 2).sum() for p in parameters.values()).backward()
        optimizer.step()
    saved_8bit = state(parameters, optimizer)
    restored, optimizer_32 = make(False, (9, 301))
    optim.load_optimizer_state(saved_8bit, optimizer_32, restored)
    saved_32bit = state(restored, optimizer_32)
    for field, number in optim.MOMENTS:
        quantized = optimizer.state[parameters["unet.weight"]]
        expected = bitsandbytes.functional.dequantize_blockwise(
            quantized[f"state{number}"],
            absmax=quantized[f"absmax{number}"],
            code=quantized[f"qmap{number}"],
            blocksize=256,
        )
        assert torch.equal(saved_32bit[f"adam.{field}.unet.weight"], expected)
        assert torch.equal(saved_32bit[f"adam.{field}.handles"], saved_8bit[f"adam.{field}.handles"])
    assert torch.equal(restored["unet.weight"], parameters["unet.weight"])
    back, again = make(True, (9, 301))
    optim.load_optimizer_state(saved_32bit, again, back)
    for field, _ in optim.MOMENTS:
        returned = optim._dequantized(optim._fields(again.state[back["unet.weight"]]), field)
        exact = saved_32bit[f"adam.{field}.unet.weight"]
        assert (returned - exact).abs().max() < 0.02 * exact.abs().max()
    assert again.state[back["handles"]]["step"] == 3


def test_eight_bit_state_takes_a_quarter(eight_bit):
    weight = torch.nn.Parameter(torch.randn(64, 1024))
    embeddings = torch.nn.Parameter(torch.randn(1, 32))
    optimizer = optim.make_optimizer(embeddings, {"weight": weight}, Settings(), eight_bit=True)
    (embeddings.square().sum() + weight.square().sum()).backward()
    optimizer.step()
    size = sum(v.nbytes for key, v in optimizer.state[weight].items() if key.startswith(("state", "absmax")))
    assert size < 0.26 * 8 * weight.numel()
    assert optimizer.state[embeddings]["state1"].dtype == torch.float32  # the handles keep all digits


def test_state_goes_through_a_checkpoint_bit_for_bit():
    def step(weight, optimizer):
        (weight**3).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    def make():
        embeddings = torch.nn.Parameter(torch.linspace(-1, 1, 50))
        return embeddings, optim.make_optimizer(embeddings, {}, Settings())

    weight, optimizer = make()
    for _ in range(3):
        step(weight, optimizer)
    saved = {"w": weight.detach().clone(), **optim.optimizer_state(optimizer, {"w": weight})}
    saved["adam.step.w"] = saved["adam.step.w"].long()  # of any type of number
    again, restored = make()
    optim.load_optimizer_state(saved, restored, {"w": again})
    step(weight, optimizer), step(again, restored)
    assert torch.equal(weight, again)
    assert restored.state[again]["step"] == 4 and restored.state[again]["exp_avg"] is not saved["adam.exp_avg.w"]


def test_eight_bit_state_is_used_when_memory_runs_out_twice(tiny_base, scene, monkeypatch, eight_bit):
    calls, forward = itertools.count(), tiny_base.unet.forward

    def fails(*args, **kwargs):
        if torch.is_grad_enabled() and next(calls) in (4, 5):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(tiny_base.unet, "forward", fails)
    events = []
    concepts = run_extraction(scene, tiny_base, short(tiny_base, "paper"), on_event=events.append, memory="fast")
    assert [event.memory.mode for event in events] == [FAST] * 4 + [LEAST] * 2 and concepts.steps == 6
