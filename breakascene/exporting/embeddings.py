"""Embedding files: one for each handle, in the formats of textual inversion."""

import re
import unicodedata

import torch

from breakascene.data.handle_names import BACKGROUND
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts


def token_names(concepts: Concepts) -> tuple[str, ...]:
    """Return the names of the handles in other programs, such as "teapot-3f2a".

    Programs trigger an embedding wherever its file name stands in a prompt, so a plain "teapot" would replace the
    ordinary word; the suffix, the start of the run's id, also keeps runs apart. ASCII without < > . and spaces.
    """
    names = []
    for handle, name in zip(concepts.handles, concepts.names, strict=True):
        name = "background" if handle == BACKGROUND else name
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:40] or handle.strip("<>")
        number = 2
        candidate = slug
        while candidate in names:
            candidate, number = f"{slug}-{number}", number + 1
        names.append(candidate)
    return tuple(f"{name}-{concepts.id[:4]}" for name in names)


def state_dict(base: Base, embedding: torch.Tensor, key: str = "emb_params") -> dict[str, torch.Tensor]:
    """Return the tensors of one embedding file.

    Args:
        base: Decides the format.
        embedding: The embedding of a handle, (D,).
        key: Name of the tensor for Stable Diffusion 1 and 2; diffusers takes it for the token.

    Returns:
        For Stable Diffusion 1 and 2 one tensor (1, d), for SDXL "clip_l" and "clip_g", float32.
    """
    parts = embedding.float().split([encoder.embedding_dim for encoder in base.encoders])
    names = ("clip_l", "clip_g") if base.is_sdxl else (key,)
    return {name: part[None].contiguous().clone() for name, part in zip(names, parts, strict=True)}


def bundle(base: Base, concepts: Concepts) -> dict[str, torch.Tensor]:
    """Return the keys of all embeddings bundled in a LoRA file for A1111.

    Other programs do not take them: ComfyUI joins all embeddings of a bundle into one.
    """
    return {
        f"bundle_emb.{name}.{key}": value
        for name, embedding in zip(token_names(concepts), concepts.embeddings, strict=True)
        for key, value in state_dict(base, embedding, "string_to_param.*").items()
    }
