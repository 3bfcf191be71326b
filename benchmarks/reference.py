"""The authors' public code as a loop over our base, for its time and memory; see benchmarks.extraction."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.models.attention_processor import Attention

from breakascene.data.scene import Scene
from breakascene.models.attention import token_maps
from breakascene.models.base import Base
from breakascene.models.handles import initial_embeddings, training_prompt
from breakascene.models.precision import float32_copy
from breakascene.training import losses
from breakascene.training.settings import PRIOR_PROMPTS, Settings
from breakascene.training.step import sample_subset


class _PlainAttention:
    """Attention processor that computes softmax(QKᵀ)V and stores the probabilities."""

    def __init__(self, store: dict[str, torch.Tensor], name: str):
        self.store, self.name = store, name

    def __call__(self, attn: Attention, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projections = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (attn.head_to_batch_dim(projection) for projection in projections)
        probabilities = attn.get_attention_scores(query, key, attention_mask)  # (B·heads, Q, T)
        self.store[self.name] = probabilities
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(probabilities @ value)))


@contextmanager
def _all_maps(base: Base) -> Iterator[dict[str, torch.Tensor]]:
    """Store the attention probabilities of all layers by name within the block."""
    store, before = {}, dict(base.unet.attn_processors)
    base.unet.set_attn_processor({name: _PlainAttention(store, name.removesuffix(".processor")) for name in before})
    try:
        yield store
    finally:
        base.unet.set_attn_processor(before)


def reference(
    base: Base, scene: Scene, settings: Settings, count: int, prior_images: torch.Tensor
) -> tuple[list[float], list[float]]:
    """Run `count` steps of each phase as the public code does; the base's weights become float32 and change.

    Args:
        base: The base model.
        scene: The photo and masks.
        settings: Learning rates and loss weights.
        count: Steps of each phase.
        prior_images: Images in [-1, 1], (N, 3, H, W).

    Returns:
        Seconds of each step of phase 1 and of phase 2.
    """
    for component, module in base.trainable_modules.items():
        for path, weight in module.named_parameters():
            weight.data = float32_copy(base, f"{component}.{path}", weight)
    base.originals.clear()
    rng = torch.Generator().manual_seed(0)
    square = scene.square_crop(base.image_size)
    photo = torch.tensor(square.pixels).permute(2, 0, 1)[None].to(base.device) / 127.5 - 1  # (1, 3, H, W)
    masks = torch.tensor(square.masks, dtype=torch.float32, device=base.device)  # (K, H, W)
    latent_masks = losses.downsample(masks, base.latent_size)
    attention_masks = losses.downsample(masks, base.attention_size)
    handles = [f"<asset{i}>" for i in range(len(scene.concepts))]
    base.tokenizer.add_tokens(handles)
    ids = base.tokenizer.convert_tokens_to_ids(handles)
    base.text_encoder.resize_token_embeddings(len(base.tokenizer))
    table = base.text_encoder.get_input_embeddings().weight
    table.data[ids] = initial_embeddings(base, scene.names).to(table)
    known = table.data[: -len(handles)].clone()
    autocast = torch.autocast("cuda", torch.float16, enabled=base.device.type == "cuda")
    # No gradient scaler: its time is negligible.
    times = []
    for phase in (1, 2):
        parameters = [*base.unet.parameters(), *base.text_encoder.parameters()] if phase == 2 else [table]
        for weight in parameters:
            weight.requires_grad_(True)
        lr = settings.handle_lr if phase == 1 else settings.weight_lr
        optimizer, seconds = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-2), []
        for _ in range(count):
            start = time.perf_counter()
            subset = sample_subset(len(handles), True, rng)
            index = int(torch.randint(len(prior_images), (), generator=rng))
            prompts = [training_prompt([handles[k] for k in subset]), PRIOR_PROMPTS[index % len(PRIOR_PROMPTS)]]
            pixels = torch.cat([photo, prior_images[index : index + 1]])
            with autocast, _all_maps(base) as maps:
                with torch.no_grad():
                    latents = base.vae.encode(pixels).latent_dist.sample() * base.vae.config.scaling_factor
                noise = torch.randn(latents.shape, generator=rng).to(latents)
                num_timesteps = base.scheduler.config.num_train_timesteps
                timesteps = torch.randint(num_timesteps, (len(latents),), generator=rng).to(base.device)
                noisy_latents, target = base.add_noise(latents, noise, timesteps)
                (input_ids,) = base.tokenize(prompts)
                encoder_hidden_states = base.text_encoder(input_ids).last_hidden_state
                model_pred = base.unet(noisy_latents, timesteps, encoder_hidden_states).sample
            loss = losses.masked_loss(model_pred[:1], target[:1], latent_masks[subset].amax(0)[None, None])
            layer_maps = [maps[layer].unflatten(0, (len(prompts), -1))[0].mean(0) for layer in base.attention_layers]
            tokens = input_ids[0].tolist()
            positions = [[tokens.index(ids[k])] for k in subset]
            handle_maps = token_maps(torch.stack(layer_maps).mean(0), positions)
            loss = loss + settings.attention_loss_weight * losses.attention_loss(
                handle_maps[None], attention_masks[subset][None], torch.ones(1, len(subset), device=base.device)
            )
            loss = loss + settings.prior_loss_weight * losses.prior_loss(model_pred[1:], target[1:])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if phase == 1:
                table.data[: -len(handles)] = known
            if base.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        times.append(seconds)
    return times[0], times[1]
