"""One training step in two parts: sample a batch on the host, compute its losses on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from breakascene.models.attention import AttentionStore, handle_maps
from breakascene.models.base import Base
from breakascene.models.handles import token_positions, training_prompt
from breakascene.training.augment import TrainingData
from breakascene.training.losses import attention_loss, leak, masked_loss, prior_loss
from breakascene.training.prior import Prior
from breakascene.training.settings import Settings


@dataclass(frozen=True, eq=False)
class Batch:
    """Every random choice of a step. B samples (an image and a subset of its concepts each) and P prior images.

    All shapes are the same in each step of a phase. N = B + P; K concepts; T tokens in a prompt.
    """

    subsets: tuple[tuple[int, ...], ...]  # for each sample its concepts, in the order of its prompt
    image_index: torch.Tensor  # (B,) int64, into the training data
    presence: torch.Tensor  # (B, K), 1 for the concepts of the subset, else 0
    mask_weights: torch.Tensor  # (B, K), factors of the concepts' masks, 0 for those outside the subset
    token_weights: torch.Tensor  # (B, K, T), 1/n at the n positions of a handle, else 0
    input_ids: tuple[torch.Tensor, ...]  # for each text encoder (N, T) int64
    posterior_noise: torch.Tensor  # (B, C, h, w)
    prior_index: torch.Tensor  # (P,) int64, into the prior images
    noise: torch.Tensor  # (N, C, h, w)
    timesteps: torch.Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.image_index)


@dataclass(frozen=True, eq=False)
class StepLosses:
    """The losses of a step, scalars on the device; `total` carries the gradient."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]  # "reconstruction", "attention", and with prior images "prior"
    leak: torch.Tensor  # (B, K), share of a handle's attention outside its mask; undefined outside the subset


def sample_batch(
    base: Base,
    data: TrainingData,
    handles: Sequence[str],
    prior: Prior | None,
    settings: Settings,
    rng: torch.Generator,
) -> Batch:
    """Sample images, concept subsets, prior images, noise and timesteps, and tokenize the prompts."""
    device = base.device
    samples = [sample_subset_of_image(data, settings, rng) for _ in range(settings.train_batch_size)]
    prompts = [training_prompt([handles[k] for k in subset]) for _, subset in samples]
    size, latent_shape = len(samples), data.latent_mean.shape[1:]
    posterior_noise = torch.randn((size, *latent_shape), generator=rng)
    prior_index = torch.empty(0, dtype=torch.int64)
    if prior:
        prior_index = torch.randint(len(prior.prompts), (size,), generator=rng)
        prompts += [prior.prompts[i] for i in prior_index.tolist()]
    noise = torch.randn((len(prompts), *latent_shape), generator=rng)
    timesteps = torch.randint(base.scheduler.config.num_train_timesteps, (len(prompts),), generator=rng)

    presence = torch.zeros(size, len(handles))
    mask_weights = torch.zeros(size, len(handles))
    token_weights = torch.zeros(size, len(handles), base.tokenizer.model_max_length)
    for b, (image, subset) in enumerate(samples):
        presence[b, subset] = 1.0
        # The square root, because the loss squares it
        mask_weights[b, subset] = area_weights(data, image, subset, settings.area_weighting).sqrt()
        positions = token_positions(base, prompts[b], [handles[k] for k in subset])
        for k, tokens in zip(subset, positions, strict=True):
            token_weights[b, k, tokens] = 1.0 / len(tokens)
    return Batch(
        subsets=tuple(tuple(subset) for _, subset in samples),
        image_index=_to_device(torch.tensor([image for image, _ in samples]), device),
        presence=_to_device(presence, device),
        mask_weights=_to_device(mask_weights, device),
        token_weights=_to_device(token_weights, device),
        input_ids=base.tokenize(prompts),
        posterior_noise=_to_device(posterior_noise, device),
        prior_index=_to_device(prior_index, device),
        noise=_to_device(noise, device),
        timesteps=_to_device(timesteps, device),
    )


def compute_losses(
    base: Base, data: TrainingData, prior: Prior | None, batch: Batch, settings: Settings, store: AttentionStore
) -> StepLosses:
    """Run the forward pass of a batch and compute the losses of section 3.

    Static in shape, without host synchronization and host copies. `store` must be active, and stay so until the
    backward pass is done: gradient checkpointing runs the attention layers again.
    """
    size = len(batch)
    # Forward: B samples and, in the same pass, P prior images
    latents = data.latent_mean[batch.image_index] + data.latent_std[batch.image_index] * batch.posterior_noise
    if prior:
        latents = torch.cat([latents, prior.latents[batch.prior_index]])  # (N, C, h, w)
    noisy_latents, target = base.add_noise(latents, batch.noise, batch.timesteps)
    with base.autocast():
        model_pred = base.unet(noisy_latents, batch.timesteps, **base.encode_ids(batch.input_ids)).sample

    # Reconstruction inside the union of the masks
    masks = data.masks[batch.image_index] * batch.mask_weights[..., None, None]  # (B, K, h, w)
    union = masks.amax(1, keepdim=True) if settings.masked_loss else torch.ones_like(masks[:, :1])  # (B, 1, h, w)
    scale = data.channel_power.rsqrt() if settings.normalize_channels else 1.0
    reconstruction = masked_loss(scale * model_pred[:size], scale * target[:size], union)

    # Each handle's attention on its mask
    maps = handle_maps(store.mean().float(), batch.token_weights)  # (B, K, s, s)
    attention_masks = data.attention_masks[batch.image_index]
    attention = attention_loss(maps, attention_masks, batch.presence)

    total = reconstruction + settings.attention_loss_weight * attention
    parts = {"reconstruction": reconstruction, "attention": attention}
    if prior:
        parts["prior"] = prior_loss(model_pred[size:], target[size:])
        total = total + settings.prior_loss_weight * parts["prior"]
    return StepLosses(total, parts, leak(maps.detach(), attention_masks))


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy to the device without waiting for it: pageable memory would be copied synchronously."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def sample_subset_of_image(data: TrainingData, settings: Settings, rng: torch.Generator) -> tuple[int, list[int]]:
    """Sample an image (a photo, its mirror image or a composition) and a subset of the concepts visible in it."""
    num_photo_images = 2 * data.num_photos
    if settings.composition_prob and torch.rand((), generator=rng) < settings.composition_prob:
        image = num_photo_images + int(torch.randint(len(data.visible) - num_photo_images, (), generator=rng))
        visible = data.visible[image]
        subset = list(visible)  # a composition is a random subset already
        if not settings.union_sampling:
            subset = [visible[i] for i in sample_subset(len(visible), False, rng)]
    else:
        photo = 2 * int(torch.randint(data.num_photos, (), generator=rng)) if data.num_photos > 1 else 0
        visible = data.visible[photo]
        power = settings.balance_sampling
        probabilities = data.areas[photo, list(visible)] ** -power if power else None
        subset = [visible[i] for i in sample_subset(len(visible), settings.union_sampling, rng, probabilities)]
        image = photo + (int(torch.randint(2, (), generator=rng)) if settings.random_flip else 0)
    if settings.left_to_right:
        subset = sorted(subset, key=data.center_columns[image].__getitem__)
    return image, subset


def sample_subset(
    count: int, union_sampling: bool, rng: torch.Generator, probabilities: torch.Tensor | None = None
) -> list[int]:
    """Union sampling, section 3: a subset size uniform in 1..count, then that many concepts in random order.

    probabilities: (count,), unnormalized, of each concept; uniform by default, as in the paper.
    """
    size = 1 + int(torch.randint(count, (), generator=rng)) if union_sampling else 1
    if probabilities is None:
        return torch.randperm(count, generator=rng)[:size].tolist()
    return torch.multinomial(probabilities, size, generator=rng).tolist()


def area_weights(data: TrainingData, image: int, subset: Sequence[int], power: float) -> torch.Tensor:
    """Weights (k,) of the concepts of a subset; with power 1 all concepts of the image have the same total weight."""
    areas = data.areas[image]
    mean = areas[list(data.visible[image])].log().mean().exp()
    return (mean / areas[list(subset)]) ** power
