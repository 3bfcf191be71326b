"""Half precision as on CUDA, tested with the CPU's autocast."""

import numpy as np
import pytest
import torch
from helpers.runs import assert_same, short, stop_after
from safetensors.torch import load_file

from breakascene.generation.generate import generate
from breakascene.training import checkpoint
from breakascene.training.loop import initial_handle_embeddings, run_extraction


@pytest.mark.parametrize("name", ["light", "paper"])
def test_float16_scales_its_gradients_and_resumes_to_the_same_end(tiny_base, scene, tmp_path, monkeypatch, name):
    """The dtype of GPUs without native bfloat16."""
    monkeypatch.setattr(type(tiny_base), "compute_dtype", torch.float16)
    settings, out = short(tiny_base, name, steps=(2, 2), handle_lr=1e-2), tmp_path / "run"
    uninterrupted = run_extraction(scene, tiny_base, settings)
    assert all(np.isfinite(list(losses.values())).all() for losses in uninterrupted.losses)
    moved = uninterrupted.embeddings - initial_handle_embeddings(scene, tiny_base, settings)
    assert torch.isfinite(moved).all() and moved.abs().mean() > 1e-3

    run_extraction(scene, tiny_base, settings, out, stop=stop_after(3), save_every=1)  # within phase 2
    saved = load_file(checkpoint.path_for(out))
    assert saved["scaler.scale"] > 1 and saved["handles"].dtype == torch.float32
    assert_same(run_extraction(scene, tiny_base, settings, out, resume=True), uninterrupted)


def test_a_step_whose_gradient_overflows_float16_is_skipped(tiny_base, scene, monkeypatch):
    monkeypatch.setattr(type(tiny_base), "compute_dtype", torch.float16)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    monkeypatch.setattr("breakascene.training.optim.make_scaler", lambda base: scaler)
    settings = short(tiny_base, steps=(1, 0))
    result = run_extraction(scene, tiny_base, settings)
    assert torch.equal(result.embeddings, initial_handle_embeddings(scene, tiny_base, settings))
    assert scaler.get_scale() == 2.0**119


@pytest.mark.parametrize(
    ("half", "force_upcast", "decoded"),
    [
        (torch.bfloat16, True, torch.bfloat16),
        (torch.float16, True, torch.float32),  # SDXL's VAE overflows in float16
        (torch.float16, False, torch.float16),
    ],
)
def test_images_are_sampled_and_decoded_in_half_precision(tiny_base, monkeypatch, half, force_upcast, decoded):
    full_precision = next(iter(generate(tiny_base, None, ["a photo of a dog"], num_inference_steps=4))).image
    dtypes = set()
    layers = {"unet": tiny_base.unet.conv_out, "vae": tiny_base.vae.decoder.conv_out}
    hooks = [
        layer.register_forward_hook(lambda _, args, result, part=part: dtypes.add((part, result.dtype)))
        for part, layer in layers.items()
    ]
    monkeypatch.setattr(type(tiny_base), "compute_dtype", half)
    monkeypatch.setitem(tiny_base.vae._internal_dict, "force_upcast", force_upcast)
    image = next(iter(generate(tiny_base, None, ["a photo of a dog"], num_inference_steps=4))).image
    for hook in hooks:
        hook.remove()
    assert dtypes == {("unet", half), ("vae", decoded)}
    assert np.abs(np.asarray(image, float) - np.asarray(full_precision, float)).mean() < 8
