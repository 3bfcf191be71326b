"""Memory modes: their results, the choice of one that fits, the estimate, and offloading."""

from types import SimpleNamespace

import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, short
from torch.autograd.graph import saved_tensors_hooks

from breakascene.errors import UserError
from breakascene.models.attention import AttentionStore
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.training import memory, memory_estimate, optim
from breakascene.training.loop import exhaust, extract, run_extraction
from breakascene.training.modes import MEMORY_MODES
from breakascene.training.settings import preset

FAST, LEAN, LEAST = MEMORY_MODES
KINDS = ("light", "paper")


@pytest.mark.parametrize("name", KINDS)
def test_lean_gives_bit_for_bit_the_result_of_fast(tiny_base, scene, full_runs, name):
    before, blocks = weights_of(tiny_base), []
    block = tiny_base.unet.up_blocks[-1].resnets[-1]
    hook = block.register_forward_pre_hook(lambda *_: blocks.append(torch.is_grad_enabled()))
    lean = run_extraction(scene, tiny_base, short(tiny_base, name), memory="lean")
    hook.remove()
    assert_same(lean, full_runs[name])
    assert (full_runs[name].memory, lean.memory) == ("fast", "lean")
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


def test_auto_chooses_the_fastest_mode_that_fits(tiny_base, monkeypatch):
    settings = short(tiny_base, "paper")
    needs = [memory.estimate(tiny_base, settings, mode) for mode in MEMORY_MODES]
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
    from breakascene.studio import loaded
    from breakascene.studio.screens.presets import cards

    monkeypatch.setattr(loaded, "_loaded", {"base": tiny_base})
    choices = cards()
    needs = {name: memory.estimate(tiny_base, preset(name, tiny_base), FAST) for _, name in choices}
    for label, name in choices:
        assert label.endswith(f"{needs[name] / 1e9:.1f} GB of memory")
    assert len(needs) == 3


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
