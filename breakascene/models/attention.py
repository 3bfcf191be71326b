"""Reading the cross-attention maps of the handles: where in the picture does a word look?"""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

PAPER_SIDE = 16  # the paper reads the maps of 16 × 16 cells (section 3.3)


def select_layers(unet: UNet2DConditionModel) -> tuple[int, tuple[str, ...]]:
    """Choose the cross-attention layers whose maps the attention loss reads.

    Returns (side, names): the layers of the down and up blocks with 16 · 16 queries for square latents of the
    model's own size, or, where there are none, those of the level nearest to 16. The middle block is left out, as
    in the paper, whose 16 × 16 maps all lie in the down and up blocks.
    """
    side, sides = unet.config.sample_size, []
    for block in unet.down_blocks:
        sides.append(side)
        if block.downsamplers is not None:
            side = (side + 1) // 2  # a convolution of stride 2 rounds up
    levels: dict[int, list[str]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, Attention) and module.is_cross_attention and not name.startswith("mid_block"):
            part, index = name.split(".")[:2]
            level = sides[int(index)] if part == "down_blocks" else sides[-1 - int(index)]
            levels.setdefault(level, []).append(name)
    if not levels:
        raise ValueError("this UNet has no cross-attention in its down and up blocks")
    side = min(levels, key=lambda level: abs(level - PAPER_SIDE))
    return side, tuple(levels[side])


class AttentionStore:
    """Keeps the attention of chosen cross layers while a UNet runs: `with AttentionStore(unet, layers) as seen: unet(…)`.

    The probabilities are differentiable. `samples` limits the reading to the first so many of the batch. Afterwards
    `maps` holds, by layer name, the mean over heads, (samples, queries, tokens), in 0..1, 1 in sum over the tokens.
    """

    def __init__(self, unet: UNet2DConditionModel, layers: Sequence[str], samples: int | None = None):
        self.modules = {name: unet.get_submodule(name) for name in layers}
        self.samples = samples
        self.maps: dict[str, torch.Tensor] = {}

    def __enter__(self) -> "AttentionStore":
        self.before = {name: module.processor for name, module in self.modules.items()}
        for name, module in self.modules.items():
            module.set_processor(_StoreAttnProcessor(self, name))
        return self

    def __exit__(self, *_) -> None:
        for name, module in self.modules.items():
            module.set_processor(self.before[name])

    def mean(self) -> torch.Tensor:
        """The mean over the layers, (samples, queries, tokens)."""
        return torch.stack(list(self.maps.values())).mean(0)


class _StoreAttnProcessor:
    """Attention as softmax(QKᵀ)V, because the probabilities are wanted; few queries, so that they are small."""

    def __init__(self, recorder: AttentionStore, name: str):
        self.recorder, self.name = recorder, name

    def __call__(self, attn: Attention, hidden_states, encoder_hidden_states, attention_mask=None, **_):
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (B·heads, Q, d)
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))  # (B·heads, T, d)
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        shares = attn.get_attention_scores(query, key, attention_mask)  # (B·heads, Q, T)
        read = shares.unflatten(0, (-1, attn.heads))[: self.recorder.samples]
        # Keyed by name: a layer that gradient checkpointing runs twice is still one map.
        self.recorder.maps[self.name] = read.mean(1)  # (B, Q, T)
        linear, dropout = attn.to_out
        return dropout(linear(attn.batch_to_head_dim(shares @ value)))


def token_maps(attention: torch.Tensor, positions: Sequence[Sequence[int]]) -> torch.Tensor:
    """Pick the maps of some words out of one sample's attention.

    attention: (queries, tokens) with a square number of queries. positions: for each word the places of its tokens in
    the prompt; a word that stands there twice gives the mean of its maps. Returns (K, side, side).
    """
    side = round(attention.shape[0] ** 0.5)
    maps = torch.stack([attention[:, list(places)].mean(1) for places in positions])  # (K, side²)
    return maps.unflatten(1, (side, side))


def handle_maps(attention: torch.Tensor, token_weights: torch.Tensor) -> torch.Tensor:
    """Average the attention of B samples over the tokens of K handles.

    Args:
        attention: (B, Q, T) with a square number Q of queries.
        token_weights: (B, K, T), in each row 1/n at the n positions of a handle, else 0.

    Returns:
        (B, K, side, side) with side² = Q.
    """
    side = round(attention.shape[1] ** 0.5)
    return (token_weights @ attention.transpose(1, 2)).unflatten(2, (side, side))
