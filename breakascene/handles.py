"""The handles: words such as <asset0> that a run teaches to a base model."""

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AddedToken

from breakascene.base import Base
from breakascene.errors import UserError

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
            known = f"this run knows {', '.join(known_handles)}" if known_handles else "no run is in use"
            raise UserError(f"{word} is an unknown handle: {known}.")


def places(base: Base, prompt: str, handles: Sequence[str]) -> list[list[int]]:
    """Where each handle stands among the tokens of the prompt, for handles that `taught` has put on.

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
                f"The prompt is too long for {base.name}: {handle} is cut off after {limit} tokens. "
                "Shorten the prompt or move the handle forward."
            )
        found.append(spots)
    return found


def initial_rows(base: Base, names: Sequence[str]) -> torch.Tensor:
    """The start of each handle, section 3.1: the mean of the word embeddings of its name's pieces, (K, D) float32."""
    table = base.text_encoder.get_input_embeddings().weight  # (V, D)
    pieces = [base.tokenizer(name, add_special_tokens=False).input_ids for name in names]
    rows = [table[ids].mean(0) if ids else table.mean(0) for ids in pieces]
    return torch.stack(rows).detach().float()


class HandleEmbedding(nn.Module):
    """A token embedding with a few rows of its own beside an untouched table.

    forward: ids (B, T) → (B, T, D). Ids of handles take their row, all others the table's, so the rows are the only
    parameters that training a handle needs.
    """

    def __init__(self, table: nn.Embedding, ids: Sequence[int], rows: torch.Tensor):
        super().__init__()
        self.table = table
        self.rows = nn.Parameter(rows.to(table.weight.device, table.weight.dtype, copy=True))  # (K, D)
        self.register_buffer("ids", torch.tensor(ids, device=table.weight.device), persistent=False)  # (K,)

    @property
    def weight(self) -> torch.Tensor:
        return self.table.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        match = input_ids[..., None] == self.ids  # (B, T, K)
        ours = match.to(self.rows.dtype) @ self.rows  # (B, T, D); one term each, so exact
        theirs = self.table(input_ids.clamp(max=self.table.num_embeddings - 1))  # (B, T, D)
        return torch.where(match.any(-1, keepdim=True), ours, theirs)


@contextmanager
def taught(base: Base, handles: Sequence[str], rows: torch.Tensor) -> Iterator[HandleEmbedding]:
    """While the block runs, `base` knows the handles with these embeddings (K, D); afterwards it is as it was.

    The tokenizer is a copy with the handles added, and the text encoder's table is wrapped, not changed. Yields the
    wrapper, whose `rows` can be trained. Raises UserError for a handle that the tokenizer has already.
    """
    tokenizer, table = base.tokenizer, base.text_encoder.get_input_embeddings()
    wider = copy.deepcopy(tokenizer)
    for handle in handles:
        # Not normalized: matched as it is written, before the tokenizer lowers the case.
        if not wider.add_tokens(AddedToken(handle, normalized=False)):
            raise UserError(f"{base.name} has the word {handle} already: use a base without it.")
    ids = [wider.convert_tokens_to_ids(handle) for handle in handles]
    embedding = HandleEmbedding(table, ids, rows)
    try:
        base.tokenizer = wider
        base.text_encoder.set_input_embeddings(embedding)
        yield embedding
    finally:
        base.tokenizer = tokenizer
        base.text_encoder.set_input_embeddings(table)
