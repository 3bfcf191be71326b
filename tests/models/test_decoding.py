"""Decoding latents: as the VAE does in float32 on a CPU, and in parts where memory runs out."""

import pytest
import torch
from diffusers import AutoencoderKL


@pytest.fixture
def latents(tiny_base):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 4, tiny_base.latent_size, tiny_base.latent_size, generator=generator)


@torch.no_grad()
def test_on_a_cpu_the_images_are_those_of_the_vae(tiny_base, latents):
    expected = AutoencoderKL.decode(tiny_base.vae, latents).sample
    assert torch.equal(tiny_base.vae.decode(latents).sample, expected)
    with torch.autocast("cpu", torch.bfloat16):  # of the sampling, which is none of the VAE's business
        images = tiny_base.vae.decode(latents, return_dict=False)[0]
    assert images.dtype is torch.float32 and torch.equal(images, expected)


@torch.no_grad()
def test_a_batch_that_does_not_fit_is_decoded_in_parts(tiny_base, latents, monkeypatch):
    sizes, run = [], type(tiny_base.vae.decoder).forward

    def forward(self, sample, *args):
        sizes.append(len(sample))
        if len(sample) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, sample, *args)

    expected = tiny_base.vae.decode(latents).sample
    monkeypatch.setattr(type(tiny_base.vae.decoder), "forward", forward)
    limit = 2
    assert torch.allclose(tiny_base.vae.decode(latents).sample, expected, atol=1e-5)
    assert sizes == [5, 3, 2, 1, 2]
    limit = 0
    with pytest.raises(torch.OutOfMemoryError):
        tiny_base.vae.decode(latents)
