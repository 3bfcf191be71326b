"""Generation that starts from an image."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline

from breakascene.generation.generate import generate
from breakascene.generation.start import Start

OPTIONS = {"seed": 3, "num_inference_steps": 8, "guidance_scale": 3.0}


def start_latents(base):
    """Smooth latents, as those of a photo are."""
    across = torch.linspace(-1, 1, base.latent_size).expand(base.latent_size, -1)
    return torch.stack([across, across.T, across * across.T, 0 * across])[None]


@pytest.mark.parametrize("name", ["tiny_base", "sd_base", "sd2_base", "sdxl_base"])
def test_images_equal_those_of_image_to_image_in_diffusers(name, request):
    base = request.getfixturevalue(name)
    latents = start_latents(base)
    images = generate(base, None, ["a dog"], count=2, start=Start(latents, 0.5), **OPTIONS)
    kind = StableDiffusionXLImg2ImgPipeline if base.is_sdxl else StableDiffusionImg2ImgPipeline
    pipeline = kind.from_pipe(base.pipeline())
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        ["a dog"] * 2, image=latents.repeat(2, 1, 1, 1), strength=0.5, num_inference_steps=8, guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(3 + i) for i in range(2)],
    ).images  # fmt: skip
    for generated, image in zip(images, expected, strict=True):
        assert abs(np.asarray(generated.image, int) - np.asarray(image, int)).max() <= 1


@pytest.mark.parametrize("name", ["tiny_base", "sd_base"])
def test_each_step_gets_the_latents_of_the_start_at_its_own_noise(name, request):
    base = request.getfixturevalue(name)
    latents, seen = start_latents(base), []

    def back_to_start(latents, start_latents, progress):
        seen.append((start_latents, progress))
        return start_latents

    (generated,) = generate(base, None, ["a dog"], start=Start(latents, 0.75, back_to_start, {"kind": 1}), **OPTIONS)
    pipeline = base.pipeline()
    pipeline.scheduler.set_timesteps(8)
    timesteps = pipeline.scheduler.timesteps[2:]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    assert [progress for _, progress in seen] == [step / 6 for step in range(1, 7)]
    for (found, _), timestep in zip(seen[:-1], timesteps[1:], strict=True):
        expected = pipeline.scheduler.add_noise(latents, noise, timestep[None])
        assert torch.allclose(found, expected, atol=1e-4)
    assert torch.equal(seen[-1][0], latents)
    with torch.no_grad():
        decoded = base.vae.decode(latents / base.vae.config.scaling_factor).sample[0]
    pixels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert abs(np.asarray(generated.image) - pixels).max() <= 1
    assert generated.metadata["strength"] == 0.75 and generated.metadata["kind"] == 1
