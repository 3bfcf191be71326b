"""Cross-attention maps: the layers that they are read from, and the maps of the handles in a prompt."""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

PAPER_SIDE = 16  # the paper reads maps of 16 × 16 cells (appendix B.1)


def select_layers(unet: UNet2DConditionModel) -> tuple[int, tuple[str, ...]]:
    """Select the cross-attention layers that the attention loss reads.

    These are the layers of the down and up blocks that have 16 · 16 queries at the model's native resolution. Where
    no level has that size, the nearest one is taken. The middle block is left out, as in the paper.

    Returns:
        The side of the maps, and the names of the layers.
    """
    side, sides = unet.config.sample_size, []
    for block in unet.down_blocks:
        sides.append(side)
        if block.downsamplers is not None:
            side = (side + 1) // 2  # a convolution of stride 2 rounds up
    levels: dict[int, list[str]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, Attention) and module.is_cross_attention and not name.startswith("mid_block"):
            blocks, index = name.split(".")[:2]
            level = sides[int(index)] if blocks == "down_blocks" else sides[-1 - int(index)]
            levels.setdefault(level, []).append(name)
    if not levels:
        raise ValueError("this UNet has no cross-attention in its down and up blocks")
    side = min(levels, key=lambda level: abs(level - PAPER_SIDE))
    return side, tuple(levels[side])


class AttentionStore:
    """A context manager that stores the attention probabilities of selected cross-attention layers.

    Use it as `with AttentionStore(unet, layers) as store: unet(...)`. The probabilities are differentiable.

    Args:
        unet: Its processors are replaced inside the block and restored afterwards.
        layers: Names of the cross-attention layers.
        samples: Store only the first `samples` of each batch; all by default.

    Attributes:
        maps: Layer name to probabilities averaged over the heads, (samples, queries, tokens), summing to 1 over the
            tokens.
    """

    def __init__(self, unet: UNet2DConditionModel, layers: Sequence[str], samples: int | None = None):
        self.modules = {name: unet.get_submodule(name) for name in layers}
        self.samples = samples
        self.maps: dict[str, torch.Tensor] = {}

    def __enter__(self) -> "AttentionStore":
        self.processors = {name: module.processor for name, module in self.modules.items()}
        for name, module in self.modules.items():
            module.set_processor(_StoreAttnProcessor(self, name))
        return self

    def __exit__(self, *_) -> None:
        for name, module in self.modules.items():
            module.set_processor(self.processors[name])

    def mean(self) -> torch.Tensor:
        """Average the maps over the layers: (samples, queries, tokens)."""
        return torch.stack(list(self.maps.values())).mean(0)


class _StoreAttnProcessor:
    """Attention written out as softmax(QKᵀ)V, since fused kernels do not return the probabilities."""

    def __init__(self, store: AttentionStore, name: str):
        self.store, self.name = store, name

    def __call__(self, attn: Attention, hidden_states, encoder_hidden_states, attention_mask=None, **_):
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (B·heads, Q, d)
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))  # (B·heads, T, d)
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probs = attn.get_attention_scores(query, key, attention_mask)  # (B·heads, Q, T)
        stored = probs.unflatten(0, (-1, attn.heads))[: self.store.samples]
        # Keyed by name: a layer that gradient checkpointing runs twice still has one map.
        self.store.maps[self.name] = stored.mean(1)  # (B, Q, T)
        linear, dropout = attn.to_out
        return dropout(linear(attn.batch_to_head_dim(probs @ value)))


def token_maps(attention: torch.Tensor, positions: Sequence[Sequence[int]]) -> torch.Tensor:
    """Extract the attention maps of K handles from one sample.

    Args:
        attention: Probabilities (queries, tokens); the number of queries is a square.
        positions: For each handle its token positions in the prompt; several are averaged.

    Returns:
        The maps, (K, side, side).
    """
    side = round(attention.shape[0] ** 0.5)
    maps = torch.stack([attention[:, list(tokens)].mean(1) for tokens in positions])  # (K, side²)
    return maps.unflatten(1, (side, side))


def handle_maps(attention: torch.Tensor, token_weights: torch.Tensor) -> torch.Tensor:
    """Average the attention of B samples over the tokens of K handles.

    Args:
        attention: (B, Q, T) with a square number Q of queries.
        token_weights: (B, K, T), 1/n at the n positions of a handle, else 0.

    Returns:
        (B, K, side, side) with side² = Q.
    """
    side = round(attention.shape[1] ** 0.5)
    return (token_weights @ attention.transpose(1, 2)).unflatten(2, (side, side))
