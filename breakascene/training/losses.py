"""The losses of the paper (section 3.2 and 3.3) as pure functions of tensors."""

import torch
from torch.nn import functional as F


def masked_loss(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Masked reconstruction, section 3.2: E ‖ε ∘ M − ε_θ(z_t, t, p) ∘ M‖².

    prediction, target: (B, C, h, w), noise or velocity. mask: (B, 1, h, w) in 0..1, the union of the drawn concepts'
    masks. The mean is over all elements, those outside the mask too, so a small concept weighs less. Returns a scalar.
    """
    return F.mse_loss(_wide(prediction) * mask, _wide(target) * mask)


def attention_loss(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-attention loss, section 3.3: Σ_i ‖CA_θ(v_i, z_t) − M_i‖², the mean over cells, the sum over handles.

    maps: (K, s, s) attention of each handle, ≥ 0; each is divided by its peak, as in the authors' code, so that it
    fills 0..1. masks: (K, s, s) in 0..1. Returns a scalar.
    """
    return F.mse_loss(to_peak(_wide(maps)), masks, reduction="none").mean((1, 2)).sum()


def prior_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Prior preservation, section 3.1 after DreamBooth: plain MSE on pictures that the base drew. (B, C, h, w)."""
    return F.mse_loss(_wide(prediction), _wide(target))


def leak(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The share of each handle's attention that falls outside its mask: (K, s, s) twice → (K,) in 0..1."""
    inside = (maps * masks).sum((1, 2)) / maps.sum((1, 2)).clamp_min(torch.finfo(maps.dtype).tiny)
    return 1 - inside


def to_peak(maps: torch.Tensor) -> torch.Tensor:
    """Divide each map of (…, h, w) by its largest value, so that it fills 0..1."""
    return maps / maps.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def shrink(masks: torch.Tensor, side: int) -> torch.Tensor:
    """Bring masks (K, H, W) to (K, side, side) by the share of each cell that they cover, in 0..1.

    Shares, not nearest pixels: at 16 cells a side a small thing would fall between the pixels that are looked at.
    """
    return F.interpolate(masks.float()[None], size=(side, side), mode="area")[0]


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """At least float32: squares of half precision overflow."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
