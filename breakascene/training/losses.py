"""The losses of the method (section 3 of the paper) as pure functions of tensors."""

import torch
from torch.nn import functional as F


def masked_loss(model_pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Masked reconstruction loss, section 3: E ‖ε ∘ M − ε_θ(z_t, t, p) ∘ M‖².

    The mean is over all elements, those outside the mask included, so a small concept weighs less.

    Args:
        model_pred, target: (B, C, h, w), noise or velocity.
        mask: (B, 1, h, w) in 0..1, the union of the sampled concepts' masks.

    Returns:
        A scalar.
    """
    return F.mse_loss(_at_least_float32(model_pred) * mask, _at_least_float32(target) * mask)


def attention_loss(maps: torch.Tensor, masks: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
    """Cross-attention loss, section 3: Σ_i ‖CA_θ(v_i, z_t) − M_i‖² over the handles i of a prompt.

    Args:
        maps: (B, K, s, s), attention of each handle, ≥ 0; each is divided by its peak, as in the public code.
        masks: (B, K, s, s) in 0..1.
        presence: (B, K), 1 for the handles in the sample's prompt, else 0.

    Returns:
        A scalar: the mean over cells, the sum over handles, the mean over samples.
    """
    errors = F.mse_loss(normalize_peak(_at_least_float32(maps)), masks, reduction="none").mean((-2, -1))  # (B, K)
    return ((errors * presence).sum(1) / len(maps)).sum()


def prior_loss(model_pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Prior preservation as in DreamBooth and the public code: plain MSE on images of the base. (B, C, h, w)."""
    return F.mse_loss(_at_least_float32(model_pred), _at_least_float32(target))


def leak(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The share of each handle's attention that falls outside its mask: (…, s, s) twice → (…) in 0..1."""
    inside = (maps * masks).sum((-2, -1)) / maps.sum((-2, -1)).clamp_min(torch.finfo(maps.dtype).tiny)
    return 1 - inside


def normalize_peak(maps: torch.Tensor) -> torch.Tensor:
    """Divide each map of (…, h, w) by its largest value, so that it fills 0..1."""
    return maps / maps.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def downsample(masks: torch.Tensor, side: int, mode: str = "area") -> torch.Tensor:
    """Reduce masks (K, H, W) to (K, side, side).

    Args:
        masks: In 0..1.
        side: Cells along each axis.
        mode: "area", the share of each cell that a mask covers, or "nearest", the value of one pixel for each cell, as
            in the public code; a small object can fall between these pixels.
    """
    return F.interpolate(masks.float()[None], size=(side, side), mode=mode)[0]


def _at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Squares of half-precision values overflow."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
