"""Handles: the placeholder tokens, such as <asset0>, that a run adds to a base model."""

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AddedToken

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError, shortened
from breakascene.models.base import Base

_BRACKETED = re.compile(r"<[^<>\s]+>")


def training_prompt(handles: Sequence[str]) -> str:
    """Return the prompt of a concept subset (section 3): "a photo of <asset0> and <asset1> at <background>"."""
    objects = [handle for handle in handles if handle != BACKGROUND]
    if BACKGROUND not in handles:
        return "a photo of " + " and ".join(objects)
    return f"a photo of {' and '.join(objects)} at {BACKGROUND}" if objects else f"a photo of {BACKGROUND}"


def check_prompt(prompt: str, known_handles: Sequence[str]) -> None:
    """Raise UserError, naming the known handles, if the prompt has a token in angle brackets that is not one."""
    for handle in _BRACKETED.findall(prompt):
        if handle not in known_handles:
            handle = shortened(handle, 100)
            if not known_handles:
                raise UserError(f"{handle} is an unknown handle: no run is in use.")
            known = ", ".join(known_handles)
            raise UserError("{word} is an unknown handle: this run knows {known}.", word=handle, known=known)


def token_positions(base: Base, prompt: str, handles: Sequence[str]) -> list[list[int]]:
    """Find the token positions of each handle in a prompt. The handles must be active, see `with_handles`.

    Returns:
        One list of positions for each handle, empty where the prompt does not have it.

    Raises:
        UserError: If a handle lies beyond the model's maximum prompt length.
    """
    max_length = base.tokenizer.model_max_length
    input_ids = base.tokenizer(prompt, verbose=False).input_ids  # not truncated
    found = []
    for handle in handles:
        handle_id = base.tokenizer.convert_tokens_to_ids(handle)
        positions = [i for i, input_id in enumerate(input_ids) if input_id == handle_id]
        if positions and positions[-1] >= max_length - 1:  # the last position belongs to the end token
            raise UserError(
                "The prompt is too long for {base}: {handle} is cut off after {limit} tokens. "
                "Shorten the prompt or move the handle forward.",
                base=base.name, handle=handle, limit=max_length,
            )  # fmt: skip
        found.append(positions)
    return found


def initial_embeddings(base: Base, names: Sequence[str]) -> torch.Tensor:
    """Return the initial embeddings of handles: the mean of the token embeddings of each name.

    This initialization is ours, not the paper's.

    Returns:
        (K, D) float32, where D is base.embedding_dim: the embeddings for all text encoders, concatenated.
    """
    means = []
    for tokenizer, model in base.encoders:
        table = model.get_input_embeddings().weight  # (V, d)
        tokens = [tokenizer(name, add_special_tokens=False).input_ids for name in names]
        means.append(torch.stack([table[ids].mean(0) if ids else table.mean(0) for ids in tokens]))  # (K, d)
    return torch.cat(means, 1).detach().float()


class HandleEmbedding(nn.Module):
    """A token embedding that adds handles to a frozen table: ids (B, T) → (B, T, d).

    The handle embeddings are the only parameters that training the handles needs.

    Args:
        table: The base model's token embedding, left unchanged.
        ids: Token ids of the handles, (K,).
        embeddings: Handle embeddings for all text encoders, (K, D).
        start: Offset of this text encoder's d values in them.
    """

    def __init__(self, table: nn.Embedding, ids: Sequence[int], embeddings: nn.Parameter, start: int):
        super().__init__()
        self.table, self.embeddings, self.start = table, embeddings, start
        self.register_buffer("ids", torch.tensor(ids, device=table.weight.device), persistent=False)  # (K,)

    @property
    def weight(self) -> torch.Tensor:
        return self.table.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        match = input_ids[..., None] == self.ids  # (B, T, K)
        embeddings = self.embeddings.narrow(1, self.start, self.table.embedding_dim)  # (K, d)
        handles = match.to(embeddings.dtype) @ embeddings  # (B, T, d); one term each, so exact
        others = self.table(input_ids.clamp(max=self.table.num_embeddings - 1))  # (B, T, d)
        return torch.where(match.any(-1, keepdim=True), handles, others)


@contextmanager
def with_handles(base: Base, handles: Sequence[str], embeddings: torch.Tensor) -> Iterator[nn.Parameter]:
    """Add handles with embeddings (K, D) to a base for the duration of a block; it is restored afterwards.

    The tokenizers are replaced by copies that know the handles, and the token embeddings are wrapped, not changed.

    Yields:
        The embeddings in use, a trainable parameter (K, D).

    Raises:
        UserError: If a tokenizer already has a token of that name.
    """
    encoders, tables = base.encoders, [encoder.model.get_input_embeddings() for encoder in base.encoders]
    extended = tuple(encoder._replace(tokenizer=copy.deepcopy(encoder.tokenizer)) for encoder in encoders)
    for tokenizer, handle in itertools.product((encoder.tokenizer for encoder in extended), handles):
        # normalized=False: matched as written, before the tokenizer lowers the case. Its result does not tell a new
        # token from a special one such as <|endoftext|>.
        if handle in tokenizer.get_vocab() or not tokenizer.add_tokens(AddedToken(handle, normalized=False)):
            raise UserError("{base} already has a token {handle}: use another name.", base=base.name, handle=handle)
    # float32, whatever the dtype of the weights: half precision would round small updates away
    parameter = nn.Parameter(embeddings.to(base.device, torch.float32, copy=True))  # (K, D)
    try:
        base.encoders, start = extended, 0
        for (tokenizer, model), table in zip(extended, tables, strict=True):
            ids = tokenizer.convert_tokens_to_ids(list(handles))
            model.set_input_embeddings(HandleEmbedding(table, ids, parameter, start))
            start += table.embedding_dim
        yield parameter
    finally:
        base.encoders = encoders
        for encoder, table in zip(encoders, tables, strict=True):
            encoder.model.set_input_embeddings(table)
