"""Disk and GPU memory of a run on Stable Diffusion 2.1 at its real size, computed from shapes."""

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from helpers.models import save_base, small_tokenizer, text_config
from helpers.original_layout import save_original, without_weights
from helpers.runs import short
from safetensors.torch import load_file
from transformers import CLIPTextModel

from breakascene.models import lora
from breakascene.models.base import Base, TextEncoder
from breakascene.models.loading import load_base
from breakascene.training import memory
from breakascene.training.loop import run_extraction
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import preset

GB = 1e9
TARGETS = {"paper": 20 * GB, "light": 8 * GB, "quick": 8 * GB}
RESULT = 60e6


@pytest.fixture(scope="module")
def full_size_base() -> Base:
    """stable-diffusion-2-1-base on the meta device."""
    tokenizer = small_tokenizer(77)
    text = text_config(
        tokenizer, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
    )
    text.vocab_size = 49408
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
            use_linear_projection=True,
        )
        encoder = CLIPTextModel(text)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
        )
    for module in (unet, encoder):
        module.requires_grad_(False)
    return Base("full size", (TextEncoder(tokenizer, encoder),), unet, vae, DDPMScheduler(), "full size", "sd")


def test_parameter_counts(full_size_base):
    sizes = [sum(p.numel() for p in module.parameters()) for module in full_size_base.trainable_modules.values()]
    assert sizes == [865_910_724, 340_387_840]  # of the published models
    assert (full_size_base.image_size, full_size_base.attention_size) == (512, 16) and full_size_base.family == "sd"


def bytes_on_disk(base: Base, settings) -> int:
    """Size of the weight delta of a run, computed from shapes."""
    if not settings.train_all_weights:
        with lora.inject_lora(base, settings.rank, 0, settings.lora_layers) as trainable:
            return sum(2 * weight.numel() for weight in trainable.parameters.values())
    total = 0
    for weight in lora.trainable_parameters(base).values():
        out, rest = weight.shape[0], weight.shape[1:].numel()
        total += 2 * min(settings.rank, out, rest) * (out + rest) if weight.ndim > 1 else 4 * out
    return total


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_result_takes_at_most_60_mb(tiny_base, full_size_base, scene, tmp_path, name):
    run_extraction(scene, tiny_base, settings := short(tiny_base, name, steps=(0, 1)), tmp_path / "run")
    file = tmp_path / "run" / "concepts.safetensors"
    delta = sum(value.nbytes for key, value in load_file(file).items() if key != "handles")
    assert delta == bytes_on_disk(tiny_base, settings) and file.stat().st_size < 1.5 * delta + 50_000
    assert (
        bytes_on_disk(full_size_base, preset(name, full_size_base)) < 0.97 * RESULT
    )  # names and handles take the rest


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_memory_on_a_gpu_is_within_its_targets(full_size_base, monkeypatch, name):
    monkeypatch.setattr(Base, "device", torch.device("cuda"))
    settings = preset(name, full_size_base)
    needs = [memory.estimate(full_size_base, settings, mode) for mode in memory.MEMORY_MODES]
    assert needs == sorted(needs, reverse=True) and needs[-1] <= TARGETS[name]
    assert needs[-1] > 3 * GB  # the float16 weights alone
    monkeypatch.setattr(memory, "free_bytes", lambda _: TARGETS[name] - memory.weight_bytes(full_size_base))
    monkeypatch.setattr("breakascene.training.optim.has_bitsandbytes", lambda: True)
    plan = memory.plan_memory("auto", full_size_base, settings)
    assert plan.needs <= TARGETS[name] and plan.mode.eight_bit == (name == "paper")


@pytest.mark.parametrize(("side", "predicts"), [(512, "epsilon"), (768, "v_prediction")])
def test_stable_diffusion_2_in_both_sizes(scene, tmp_path, side, predicts):
    """Narrow models at full resolution, as a folder and as one file: the photo is resized to the base's size."""
    folder = save_base(
        tmp_path / "model", length=77, latent=side // 8, vae=4, scheduler={"prediction_type": predicts},
        text={"hidden_act": "gelu"}, pad="!",
        unet={
            "block_out_channels": (4, 8, 8, 8),
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": (1, 2, 2, 2),
            "use_linear_projection": True,
        },
    )  # fmt: skip
    base = load_base(folder, "cpu")
    assert (base.image_size, base.attention_size, base.prediction_type) == (side, side // 32, predicts)
    without_weights(folder, tmp_path / "single")
    single = load_base(save_original(base, tmp_path / "single.safetensors"), "cpu")
    assert (single.fingerprint, single.image_size, single.prediction_type) == (base.fingerprint, side, predicts)
    events = []
    settings = short(base, steps=(0, 1), prior_loss_weight=0.0)
    run_extraction(scene, single, settings, on_event=events.append, maps_every=1)
    assert all(torch.tensor(list(event.losses.values())).isfinite().all() for event in events)
    assert all(grid.shape == (side // 32, side // 32) for event in events for grid in event.maps.values())
