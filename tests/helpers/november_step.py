"""The training step of November 2026, kept as an oracle: one sample at a time, indexed by lists."""

import torch
from torch.nn import functional as F

from breakascene.models.attention import AttentionStore, token_maps
from breakascene.models.handles import token_positions, training_prompt
from breakascene.training.step import area_weights, sample_subset_of_image


def step(base, data, handles, prior, settings, rng) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss to minimize and its parts; samples random values in the order of sample_batch."""
    samples = [sample_subset_of_image(data, settings, rng) for _ in range(settings.train_batch_size)]
    images, subsets = [image for image, _ in samples], [subset for _, subset in samples]
    prompts = [training_prompt([handles[k] for k in subset]) for subset in subsets]
    noise = torch.randn((len(samples), *data.latent_mean.shape[1:]), generator=rng)
    latents = data.latent_mean[images] + data.latent_std[images] * noise
    masks = [data.masks[image, subset] for image, subset in samples]
    if settings.area_weighting:
        masks = [
            mask * area_weights(data, image, subset, settings.area_weighting).sqrt()[:, None, None]
            for mask, (image, subset) in zip(masks, samples, strict=True)
        ]
    union = torch.stack([mask.amax(0, keepdim=True) for mask in masks])
    if prior:
        chosen = torch.randint(len(prior.prompts), (settings.train_batch_size,), generator=rng).tolist()
        prompts += [prior.prompts[i] for i in chosen]
        latents = torch.cat([latents, prior.latents[chosen]])
    noise = torch.randn(latents.shape, generator=rng)
    timesteps = torch.randint(base.scheduler.config.num_train_timesteps, (len(latents),), generator=rng)
    noisy_latents, target = base.scheduler.add_noise(latents, noise, timesteps), noise
    if base.prediction_type == "v_prediction":
        target = base.scheduler.get_velocity(latents, noise, timesteps)
    num_samples = len(samples)
    with AttentionStore(base.unet, base.attention_layers, num_samples) as store:
        model_pred = base.predict(noisy_latents, timesteps, prompts)
        mask = union if settings.masked_loss else torch.ones_like(union)
        scale = data.channel_power.rsqrt() if settings.normalize_channels else 1.0
        reconstruction = F.mse_loss(scale * model_pred[:num_samples] * mask, scale * target[:num_samples] * mask)
        attention = torch.zeros(())
        for probs, prompt, (image, subset) in zip(store.mean(), prompts, samples, strict=False):
            maps = token_maps(probs, token_positions(base, prompt, [handles[k] for k in subset])).float()
            maps = maps / maps.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
            errors = F.mse_loss(maps, data.attention_masks[image, subset], reduction="none")
            attention = attention + errors.mean((1, 2)).sum() / num_samples
        total = reconstruction + settings.attention_loss_weight * attention
        parts = {"reconstruction": reconstruction, "attention": attention}
        if prior:
            parts["prior"] = F.mse_loss(model_pred[num_samples:], target[num_samples:])
            total = total + settings.prior_loss_weight * parts["prior"]
        total.backward()
    return total, parts
