"""Memory modes: only 8-bit state changes the result, and a run continues after memory ran out."""

import itertools
import random
from types import SimpleNamespace

import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, short, stop_after
from torch.autograd.graph import saved_tensors_hooks

from breakascene.errors import UserError, is_out_of_memory
from breakascene.models.attention import AttentionStore
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.training import checkpoint, memory, memory_estimate, optim
from breakascene.training.loop import exhaust, extract, run_extraction
from breakascene.training.settings import Settings, preset

FAST, LEAN, LEAST = memory.MEMORY_MODES
KINDS = ("light", "paper")


@pytest.fixture(scope="module")
def fast_runs(tiny_base, scene):
    return {name: run_extraction(scene, tiny_base, short(tiny_base, name), memory="fast") for name in KINDS}


@pytest.fixture
def no_eight_bit(monkeypatch):
    monkeypatch.setattr(optim, "has_bitsandbytes", lambda: False)


@pytest.mark.parametrize("name", KINDS)
def test_lean_gives_bit_for_bit_the_result_of_fast(tiny_base, scene, fast_runs, name):
    before, blocks = weights_of(tiny_base), []
    block = tiny_base.unet.up_blocks[-1].resnets[-1]
    hook = block.register_forward_pre_hook(lambda *_: blocks.append(torch.is_grad_enabled()))
    lean = run_extraction(scene, tiny_base, short(tiny_base, name), memory="lean")
    hook.remove()
    assert_same(lean, fast_runs[name])
    assert (fast_runs[name].memory, lean.memory) == ("fast", "lean")
    assert blocks.count(True) == 2 * lean.steps  # each block is computed twice
    assert not tiny_base.unet.is_gradient_checkpointing
    assert_same_base(tiny_base, before)


@pytest.mark.parametrize("kind", ["sd_base", "sd2_base", "sdxl_base"])
def test_lean_on_each_architecture(request, scene, kind):
    base = request.getfixturevalue(kind)
    settings = preset("quick", base, steps=(1, 1), prior_loss_weight=0.0, train_batch_size=1)
    fast, lean = (run_extraction(scene, base, settings, memory=name) for name in ("fast", "lean"))
    assert_same(fast, lean)


def test_the_vae_encodes_before_the_steps_and_is_offloaded_during_them(tiny_base, scene, monkeypatch):
    encode, vae, log = tiny_base.vae.encode, tiny_base.vae, []
    monkeypatch.setattr(vae, "encode", lambda *args: (log.append("encode"), encode(*args))[1])
    monkeypatch.setattr(vae, "to", lambda *_: log.append("loaded"))
    for module in ("loop", "monitor"):
        monkeypatch.setattr(f"breakascene.training.{module}.offload_vae", lambda base: log.append("offloaded"))
    forward = tiny_base.unet.forward
    monkeypatch.setattr(
        tiny_base.unet, "forward",
        lambda *args, **more: (torch.is_grad_enabled() and log.append("step"), forward(*args, **more))[1],
    )  # fmt: skip
    concepts = exhaust(extract(scene, tiny_base, short(tiny_base), preview_every=2), lambda _: None)
    assert concepts.steps == log.count("step") == 6
    last = max(i for i, entry in enumerate(log) if entry == "encode")
    assert last < log.index("step")
    states = [
        next(entry for entry in reversed(log[:i]) if entry in ("loaded", "offloaded")) for i in range(1, len(log))
    ]
    assert all(state == "offloaded" for state, entry in zip(states, log[1:], strict=True) if entry == "step")


def test_the_vae_is_offloaded_from_a_gpu_only():
    for device, targets in (("cuda", ["cpu"]), ("cpu", [])):
        moved = []
        memory.offload_vae(SimpleNamespace(device=torch.device(device), vae=SimpleNamespace(to=moved.append)))
        assert moved == targets


def test_the_memory_mode_is_entered_before_the_photo_is_encoded(tiny_base, scene, monkeypatch):
    encode, checkpointing = tiny_base.vae.encode, []
    monkeypatch.setattr(
        tiny_base.vae,
        "encode",
        lambda *a: (checkpointing.append(tiny_base.unet.is_gradient_checkpointing), encode(*a))[1],
    )
    run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 0)), memory="lean")
    assert checkpointing and all(checkpointing)


def run_out_of_memory(base, monkeypatch, at, in_all_modes=False):
    """Let the UNet run out of memory from step `at` (from 0) on: in mode fast, or in all modes."""
    steps, forward = itertools.count(), base.unet.forward

    def fails(*args, **kwargs):
        if torch.is_grad_enabled() and (in_all_modes or not base.unet.is_gradient_checkpointing) and next(steps) >= at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return forward(*args, **kwargs)

    monkeypatch.setattr(base.unet, "forward", fails)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("seed", "saved"), [(0, True), (1, False), (2, True)])
def test_memory_that_runs_out_at_a_random_step_changes_nothing(
    tiny_base, scene, fast_runs, tmp_path, monkeypatch, name, seed, saved
):
    before, at = weights_of(tiny_base), random.Random(seed).randrange(6)
    run_out_of_memory(tiny_base, monkeypatch, at)
    events, out = [], tmp_path / "run" if saved else None
    work = extract(scene, tiny_base, short(tiny_base, name), out, memory="fast", save_every=2)
    concepts = exhaust(work, events.append)
    assert_same(concepts, fast_runs[name])
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]  # no step is repeated
    assert [event.memory.mode for event in events] == [FAST] * at + [LEAN] * (6 - at)
    assert "Memory ran out with fast; resuming with lean" in str(events[-1].memory) and concepts.memory == "lean"
    assert not checkpoint.path_for(tmp_path / "run").exists()
    monkeypatch.undo()
    assert_same_base(tiny_base, before)


@pytest.mark.parametrize("saved", [True, False])
def test_memory_that_runs_out_during_an_update_costs_the_steps_since_the_last_checkpoint(
    tiny_base, scene, fast_runs, tmp_path, monkeypatch, saved
):
    step, calls = torch.optim.AdamW.step, itertools.count()

    def fails(self, *args):
        result = step(self, *args)
        if next(calls) == 4:
            raise MemoryError  # which weights were updated is unknown
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", fails)
    events, out = [], tmp_path / "run" if saved else None
    work = extract(scene, tiny_base, short(tiny_base), out, memory="fast", save_every=3)
    assert_same(exhaust(work, events.append), fast_runs["light"])
    assert [event.step for event in events] == [1, 2, 3, 4, *((4, 5, 6) if saved else range(1, 7))]


def test_memory_that_runs_out_during_a_preview_costs_no_step(tiny_base, scene, fast_runs, monkeypatch):
    decode, calls = tiny_base.vae.decode, itertools.count()

    def fails(*args, **kwargs):
        if next(calls) == 3:  # the first image of the second preview: there are three handles
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(*args, **kwargs)

    monkeypatch.setattr(tiny_base.vae, "decode", fails)
    events = []
    work = extract(scene, tiny_base, short(tiny_base), memory="fast", preview_every=2)
    assert_same(exhaust(work, events.append), fast_runs["light"])
    assert [event.step for event in events] == [1, 2, 3, 5, 6] and events[-1].previews


@pytest.mark.parametrize("name", KINDS)
def test_memory_that_runs_out_after_the_last_step_costs_nothing(tiny_base, scene, fast_runs, monkeypatch, name):
    def fails(*_):
        monkeypatch.undo()
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("breakascene.training.events.draw_previews", fails)
    concepts = run_extraction(scene, tiny_base, short(tiny_base, name), memory="fast", preview_every=6)
    assert_same(concepts, fast_runs[name])
    assert concepts.memory == "lean"


def test_memory_that_runs_out_in_every_mode_is_reported_and_the_run_can_be_resumed(
    tiny_base, scene, fast_runs, tmp_path, monkeypatch, no_eight_bit
):
    before, out = weights_of(tiny_base), tmp_path / "run"
    run_out_of_memory(tiny_base, monkeypatch, 4, in_all_modes=True)
    with pytest.raises(UserError, match="install bitsandbytes"):
        run_extraction(scene, tiny_base, short(tiny_base), out)
    monkeypatch.setattr(optim, "has_bitsandbytes", lambda: True)
    with pytest.raises(UserError, match="in the most economical mode too"):
        memory.next_plan(memory.MemoryPlan(LEAST, 0, 0), tiny_base, short(tiny_base))
    monkeypatch.undo()
    assert_same_base(tiny_base, before)
    assert_same(run_extraction(scene, tiny_base, short(tiny_base), out, resume=True), fast_runs["light"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_out_of_memory_errors_are_recognized(error, expected):
    assert is_out_of_memory(error) == expected


def test_other_errors_are_not_taken_for_out_of_memory(tiny_base, scene, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(tiny_base.unet, "forward", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        run_extraction(scene, tiny_base, short(tiny_base))


def test_auto_chooses_the_fastest_mode_that_fits(tiny_base, monkeypatch):
    settings = short(tiny_base, "paper")
    needs = [memory.estimate(tiny_base, settings, mode) for mode in memory.MEMORY_MODES]
    assert needs == sorted(needs, reverse=True) and len(set(needs)) == 3
    weights = memory.weight_bytes(tiny_base)
    monkeypatch.setattr(optim, "has_bitsandbytes", lambda: True)
    for free, mode in [(needs[0], FAST), (needs[0] - 1, LEAN), (needs[1] - 1, LEAST), (weights, LEAST)]:
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free - weights)
        plan = memory.plan_memory("auto", tiny_base, settings)
        assert (plan.mode, plan.free) == (mode, free)
        assert str(plan).startswith(f"Memory: {mode.name}, {mode.description}; about ")
    monkeypatch.setattr(optim, "has_bitsandbytes", lambda: False)
    assert memory.plan_memory("auto", tiny_base, settings).mode == LEAN
    with pytest.raises(UserError, match="needs bitsandbytes"):
        memory.plan_memory("least", tiny_base, settings)
    with pytest.raises(UserError, match="auto, fast, lean or least"):
        memory.plan_memory("tiny", tiny_base, settings)


def test_the_studio_shows_the_memory_that_each_preset_needs(tiny_base, monkeypatch):
    from breakascene.studio import engine
    from breakascene.studio.screens.presets import cards

    monkeypatch.setattr(engine, "_loaded", {"base": tiny_base})
    choices = cards()
    needs = {name: memory.estimate(tiny_base, preset(name, tiny_base), FAST) for _, name in choices}
    for label, name in choices:
        assert label.endswith(f"{needs[name] / 1e9:.1f} GB of memory")
    assert len(needs) == 3


def test_the_studio_says_that_memory_ran_out(tiny_base, scene, monkeypatch):
    from breakascene.studio import strings
    from breakascene.studio.jobs import RUNNING, Job
    from breakascene.studio.screens.extract import describe
    from breakascene.studio.screens.extraction_job import ExtractionDetails

    run_out_of_memory(tiny_base, monkeypatch, 1)
    events = list(extract(scene, tiny_base, short(tiny_base, steps=(3, 0)), memory="fast"))
    for event in events:
        job = Job("id", "owner", "extract", None, None, None, None, RUNNING, events=[event])
        job.details = ExtractionDetails({}, None, scene, short(tiny_base), None)
        assert (strings.MEMORY_MODE_CHANGED in describe(job)) == (event.step > 1)


@pytest.mark.parametrize("kind", ["tiny_base", "sd_base", "sd2_base", "sdxl_base"])
def test_the_estimate_matches_what_a_real_step_saves_for_backward(request, kind):
    base = request.getfixturevalue(kind)
    weights = {p.untyped_storage()._cdata for part in base.trainable_modules.values() for p in part.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage
        return tensor

    noisy = torch.randn(2, 4, base.latent_size, base.latent_size)
    with (
        with_handles(base, ["<asset0>"], initial_embeddings(base, ["dog"])),
        AttentionStore(base.unet, base.attention_layers, 1),
        saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        base.predict(noisy, torch.tensor([3, 5]), ["a photo of <asset0>"] * 2)
    real = sum(storage.nbytes() for storage in saved.values())
    fast = memory_estimate._saved_for_backward(memory_estimate._meta_copy(base), 2, 1, gradient_checkpointing=False)
    assert abs(fast - real) < 0.05 * real
    assert (
        memory_estimate._saved_for_backward(memory_estimate._meta_copy(base), 2, 1, gradient_checkpointing=True)
        < 0.7 * fast
    )


@pytest.fixture
def eight_bit(monkeypatch):
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(optim, "MIN_8BIT_SIZE", 1024)  # the test weights are tiny


@pytest.mark.parametrize("name", KINDS)
def test_eight_bit_state_is_close_and_resumes_to_the_same_end(tiny_base, scene, fast_runs, tmp_path, eight_bit, name):
    settings, out = short(tiny_base, name), tmp_path / "run"
    uninterrupted = run_extraction(scene, tiny_base, settings, memory="least")
    totals = [[step["total"] for step in run.losses] for run in (uninterrupted, fast_runs[name])]
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
    again, restored = make()
    optim.load_optimizer_state(saved, restored, {"w": again})
    step(weight, optimizer), step(again, restored)
    assert torch.equal(weight, again)
    assert restored.state[again]["step"] == 4 and restored.state[again]["exp_avg"] is not saved["adam.exp_avg.w"]


def test_eight_bit_state_takes_a_quarter(eight_bit):
    weight = torch.nn.Parameter(torch.randn(64, 1024))
    embeddings = torch.nn.Parameter(torch.randn(1, 32))
    optimizer = optim.make_optimizer(embeddings, {"weight": weight}, Settings(), eight_bit=True)
    (embeddings.square().sum() + weight.square().sum()).backward()
    optimizer.step()
    size = sum(v.nbytes for key, v in optimizer.state[weight].items() if key.startswith(("state", "absmax")))
    assert size < 0.26 * 8 * weight.numel()
    assert optimizer.state[embeddings]["state1"].dtype == torch.float32  # the handles keep all digits
