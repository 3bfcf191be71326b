"""The handles: words such as <asset0> that a run teaches to a base model."""

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AddedToken

from breakascene.errors import UserError
from breakascene.models.base import Base

BACKGROUND = "<background>"
_WORD = re.compile(r"<[^<>\s]+>")


def handle_of(index: int) -> str:
    """The handle of concept `index` (from 0): "<asset0>", "<asset1>", …"""
    return f"<asset{index}>"


def training_prompt(handles: Sequence[str]) -> str:
    """The prompt of a subset, section 3.1: "a photo of <asset0> and <asset1>", and "at <background>" last."""
    things = [handle for handle in handles if handle != BACKGROUND]
    if BACKGROUND not in handles:
        return "a photo of " + " and ".join(things)
    return f"a photo of {' and '.join(things)} at {BACKGROUND}" if things else f"a photo of {BACKGROUND}"


def check_prompt(prompt: str, known_handles: Sequence[str]) -> None:
    """Raise UserError if the prompt has a word in angle brackets that is no known handle; it names those that are."""
    for word in _WORD.findall(prompt):
        if word not in known_handles:
            if not known_handles:
                raise UserError(f"{word} is an unknown handle: no run is in use.")
            known = ", ".join(known_handles)
            raise UserError("{word} is an unknown handle: this run knows {known}.", word=word, known=known)


def token_positions(base: Base, prompt: str, handles: Sequence[str]) -> list[list[int]]:
    """Where each handle stands among the tokens of the prompt, for handles that `with_handles` has put on.

    Returns one list of positions for each handle; two where the prompt has it twice.
    Raises UserError if a handle is cut off because the prompt is longer than the model reads.
    """
    limit = base.tokenizer.model_max_length
    whole = base.tokenizer(prompt, verbose=False).input_ids
    found = []
    for handle in handles:
        token = base.tokenizer.convert_tokens_to_ids(handle)
        spots = [i for i, other in enumerate(whole) if other == token]
        if spots and spots[-1] >= limit - 1:  # the last place belongs to the end mark
            raise UserError(
                "The prompt is too long for {base}: {handle} is cut off after {limit} tokens. "
                "Shorten the prompt or move the handle forward.",
                base=base.name, handle=handle, limit=limit,
            )  # fmt: skip
        found.append(spots)
    return found


def initial_embeddings(base: Base, names: Sequence[str]) -> torch.Tensor:
    """The start of each handle, section 3.1: the mean of the word embeddings of its name's pieces, (K, D) float32.

    D is base.embedding_dim: where there are two text encoders, the numbers for the second follow those for the first.
    """
    starts = []
    for tokenizer, model in base.encoders:
        table = model.get_input_embeddings().weight  # (V, d)
        pieces = [tokenizer(name, add_special_tokens=False).input_ids for name in names]
        starts.append(torch.stack([table[ids].mean(0) if ids else table.mean(0) for ids in pieces]))  # (K, d)
    return torch.cat(starts, 1).detach().float()


class HandleEmbedding(nn.Module):
    """A token embedding with a few rows of its own beside an untouched table.

    forward: ids (B, T) → (B, T, d). Ids of handles take their row, all others the table's, so the rows are the only
    parameters that training a handle needs. Of each row (K, D) it takes the d numbers from `start` on.
    """

    def __init__(self, table: nn.Embedding, ids: Sequence[int], rows: nn.Parameter, start: int):
        super().__init__()
        self.table, self.rows, self.start = table, rows, start
        self.register_buffer("ids", torch.tensor(ids, device=table.weight.device), persistent=False)  # (K,)

    @property
    def weight(self) -> torch.Tensor:
        return self.table.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        match = input_ids[..., None] == self.ids  # (B, T, K)
        rows = self.rows.narrow(1, self.start, self.table.embedding_dim)  # (K, d)
        ours = match.to(rows.dtype) @ rows  # (B, T, d); one term each, so exact
        theirs = self.table(input_ids.clamp(max=self.table.num_embeddings - 1))  # (B, T, d)
        return torch.where(match.any(-1, keepdim=True), ours, theirs)


@contextmanager
def with_handles(base: Base, handles: Sequence[str], rows: torch.Tensor) -> Iterator[nn.Parameter]:
    """While the block runs, `base` knows the handles with these embeddings (K, D); afterwards it is as it was.

    The tokenizers are copies with the handles added, and the text encoders' tables are wrapped, not changed. Yields the
    embeddings in use, which can be trained. Raises UserError for a handle that a tokenizer has already.
    """
    encoders, tables = base.encoders, [encoder.model.get_input_embeddings() for encoder in base.encoders]
    wider = tuple(encoder._replace(tokenizer=copy.deepcopy(encoder.tokenizer)) for encoder in encoders)
    for tokenizer, handle in itertools.product((encoder.tokenizer for encoder in wider), handles):
        # Not normalized: matched as it is written, before the tokenizer lowers the case.
        if not tokenizer.add_tokens(AddedToken(handle, normalized=False)):
            raise UserError(f"{base.name} has the word {handle} already: use a base without it.")
    words = nn.Parameter(rows.to(base.device, base.dtype, copy=True))  # (K, D)
    try:
        base.encoders, start = wider, 0
        for (tokenizer, model), table in zip(wider, tables, strict=True):
            ids = tokenizer.convert_tokens_to_ids(list(handles))
            model.set_input_embeddings(HandleEmbedding(table, ids, words, start))
            start += table.embedding_dim
        yield words
    finally:
        base.encoders = encoders
        for encoder, table in zip(encoders, tables, strict=True):
            encoder.model.set_input_embeddings(table)
