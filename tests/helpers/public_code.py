"""The training step of the authors' public code (google/break-a-scene), written out with PyTorch, diffusers and
transformers alone, as an oracle for the preset `paper`.

It has the deviations of docs/method.md that concern a step: of the token embeddings only the handles' rows are trained,
phase 1 has no prior loss, and a handle starts at the mean of its name's tokens.
"""

import copy

import torch
from torch.nn import functional as F
from transformers import AddedToken


class StoringProcessor:
    """Cross-attention as matrix products; its probabilities are kept with the name of the layer."""

    def __init__(self, name, kept):
        self.name, self.kept = name, kept

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(layer(states))
            for layer, states in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        if encoder_hidden_states is None:  # the loss reads cross-attention only
            states = F.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        else:
            probs = (attn.scale * query @ key.transpose(1, 2)).softmax(-1)  # (B·heads, Q, T)
            self.kept.append((self.name, probs))
            states = probs @ value
        return attn.to_out[0](attn.batch_to_head_dim(states))


class PublicCode:
    """Copies of a base's models with the handles in the tokenizer and the embedding table."""

    def __init__(self, base, handles, names, map_side):
        self.unet, self.text_encoder, self.vae = (
            copy.deepcopy(module) for module in (base.unet, base.text_encoder, base.vae)
        )
        self.tokenizer, self.scheduler = copy.deepcopy(base.tokenizer), base.scheduler
        self.handles, self.map_side = handles, map_side
        starts = [self.tokenizer(name, add_special_tokens=False).input_ids for name in names]
        self.tokenizer.add_tokens([AddedToken(handle, normalized=False) for handle in handles])
        self.ids = self.tokenizer.convert_tokens_to_ids(list(handles))
        self.text_encoder.resize_token_embeddings(len(self.tokenizer))
        self.table = self.text_encoder.get_input_embeddings().weight
        with torch.no_grad():
            self.table[self.ids] = torch.stack([self.table[start].mean(0) for start in starts])
        self.kept = []
        names = list(self.unet.attn_processors)
        self.unet.set_attn_processor({name: StoringProcessor(name, self.kept) for name in names})

    def begin_phase(self, phase, lr):
        """Make the parameters of a phase trainable, with a new AdamW."""
        self.phase, self.named = phase, {"handles": self.table}
        if phase == 2:
            for part, module in (("unet", self.unet), ("text_encoder", self.text_encoder)):
                self.named |= {f"{part}.{n}": p for n, p in module.named_parameters() if "token_embedding" not in n}
        for parameter in self.named.values():
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.named.values(), lr=lr, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)

    def losses(self, pixels, masks, subset, posterior_noise, prior, noise, timesteps):
        """Return total, masked, attention and prior loss of one subset of the concepts and, in phase 2, a prior image.

        Args:
            pixels: (3, H, W) in -1..1.
            masks: (K, H, W), 0 or 1.
            subset: Indices of the concepts in the order of the prompt.
            posterior_noise: (1, C, h, w).
            prior: Latents (1, C, h, w) and prompt, or None.
            noise, timesteps: (1 or 2, C, h, w) and (1 or 2,), the instance first.
        """
        posterior = self.vae.encode(pixels[None]).latent_dist
        latents = (posterior.mean + posterior.std * posterior_noise) * self.vae.config.scaling_factor
        prompts = ["a photo of " + " and ".join(self.handles[k] for k in subset)]
        if prior:
            latents, prompts = torch.cat([latents, prior[0]]), [*prompts, prior[1]]
        noisy_latents = self.scheduler.add_noise(latents, noise, timesteps)
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
        hidden_states = self.text_encoder(tokens.input_ids).last_hidden_state
        self.kept.clear()
        model_pred = self.unet(noisy_latents, timesteps, hidden_states).sample

        max_mask = masks[subset].amax(0)[None, None]
        small = F.interpolate(max_mask, size=latents.shape[-2:])
        masked = F.mse_loss(model_pred[:1] * small, target[:1] * small)
        side, layers = self.map_side, []
        for name, probs in self.kept:
            if probs.shape[1] == side**2 and not name.startswith("mid_block"):
                layers.append(probs.unflatten(0, (len(prompts), -1))[0])  # (heads, Q, T)
        maps = torch.cat(layers).mean(0)  # (Q, T)
        attention = 0
        for k, goal in zip(subset, F.interpolate(masks[subset][:, None], size=(side, side)), strict=True):
            position = (tokens.input_ids[0] == self.ids[k]).nonzero().item()
            one = maps[:, position].view(side, side)
            attention = attention + F.mse_loss(goal[0], one / one.max())
        total = masked + 0.01 * attention
        prior_loss = F.mse_loss(model_pred[1:], target[1:]) if prior else None
        if prior:
            total = total + prior_loss
        return total, masked, attention, prior_loss

    def gradients(self):
        """The gradients by parameter; of the table those of the handles' rows, the others are dropped."""
        rows = torch.zeros_like(self.table.grad)
        rows[self.ids] = self.table.grad[self.ids]
        self.table.grad = rows
        return {**{name: p.grad for name, p in self.named.items()}, "handles": rows[self.ids]}

    def update(self, max_grad_norm):
        """Clip and step; return the norm before."""
        before = self.table.detach().clone()
        norm = torch.nn.utils.clip_grad_norm_(self.named.values(), max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            before[self.ids] = self.table[self.ids]
            self.table.copy_(before)  # the rows of other tokens are restored
        return norm.item()

    def weights(self):
        """The parameters by name; of the table the handles' rows."""
        return {**self.named, "handles": self.table[self.ids]}
