"""Concepts of several runs in one image: the weight delta of a run acts only for its own handles and in their region.

The sum of the deltas mixes the objects, since each was trained as if it were alone. Here a delta acts

- token-wise in the text encoders and in the keys and values of the UNet's cross-attention, as in TARA (arXiv
  2508.08812): at the handles of its own run only;
- region-wise in the rest of the UNet: where the handles of its run have more attention than those of the other runs, as
  in FreeFuse (arXiv 2510.23515). The regions come from the attention maps of the steps so far; until there are any, the
  deltas share the whole image.

A prompt with the handles of one run only is generated as that run alone generates it. A negative prompt without handles
has the regions of its prompt, so that guidance compares the same model with and without the words.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from breakascene.data.consent import Consent
from breakascene.data.handle_names import name_handles
from breakascene.errors import UserError
from breakascene.models import handles
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.routing import Routing


@dataclass(frozen=True, eq=False)
class CombinedConcepts:
    """The concepts of several runs on one base; takes the place of Concepts. Made by `combine`.

    Attributes:
        runs: At least one.
        handles, names: Of all concepts.
        members: For each handle the index of its run, and of the handle in that run.
        id, photo: As of Concepts; those of several runs are joined by "+".
    """

    runs: tuple[Concepts, ...]
    handles: tuple[str, ...]
    names: tuple[str, ...]
    members: tuple[tuple[int, int], ...]
    id: str
    photo: str

    @property
    def base(self) -> str:
        return self.runs[0].base

    @property
    def fingerprint(self) -> str:
        return self.runs[0].fingerprint

    @property
    def embeddings(self) -> torch.Tensor:
        """Token embeddings of all handles, (K, D)."""
        return torch.stack([self.runs[run].embeddings[index] for run, index in self.members])

    @property
    def consents(self) -> tuple[Consent, ...]:
        return tuple(dict.fromkeys(consent for run in self.runs for consent in run.consents))

    def check(self, base: Base) -> None:
        """Raise UserError if a run was extracted on another base, or does not fit it."""
        for run in self.runs:
            run.check(base)

    @contextmanager
    def applied(self, base: Base, others: Mapping[str, torch.Tensor] | None = None) -> Iterator[Base]:
        """Add the handles and the routed deltas to a base for the duration of a block; see Concepts.applied."""
        self.check(base)
        others = others or {}
        embeddings = torch.stack([*self.embeddings, *others.values()])
        with (
            base.lock.held(),
            handles.with_handles(base, (*self.handles, *others), embeddings),
            Routing(base, [run.delta for run in self.runs], self.handles, [run for run, _ in self.members]),
        ):
            yield base


def combine(runs: Sequence[Concepts | CombinedConcepts]) -> CombinedConcepts:
    """Combine the concepts of several runs, whose handles become their names: "<teapot>", "<owl>", "<owl-2>".

    Raises:
        UserError: If the runs were made on different bases, or one of them is given twice.
    """
    for run in runs[1:]:
        if run.fingerprint != runs[0].fingerprint:
            raise UserError(
                "These runs cannot be combined, they were learned on {one} and on {other}: choose runs of one base.",
                one=runs[0].base, other=run.base,
            )  # fmt: skip
    names = tuple(name for run in runs for name in run.names)
    parts, members = [], []
    for run in runs:
        combined = isinstance(run, CombinedConcepts)
        own = run.members if combined else [(0, index) for index in range(len(run.handles))]
        members += [(len(parts) + part, index) for part, index in own]
        parts += run.runs if combined else [run]
    if len({part.id for part in parts}) < len(parts):
        raise UserError("The same run is given twice: name each run once.")
    return CombinedConcepts(
        runs=tuple(parts),
        handles=name_handles([handle for run in runs for handle in run.handles], names),
        names=names,
        members=tuple(members),
        id="+".join(run.id for run in runs),
        photo="+".join(run.photo for run in runs if run.photo),
    )
