"""ToyBench: fixed scenes of things that the toybox has never seen, and what is asked for with them.

Twenty scenes of 2, 3 and 4 held-out things in turn, each thing in one scene only; every subset of up to three of them
is asked for in ten places where the photos were not taken. TUNING has other scenes of the same things, for choosing
settings. Styles are not asked for: the judge has seen single things in photos only, so identity would not be fair.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from breakascene.data.scene import Scene, make_scene
from breakascene.toybox.pretraining.world import draw_scene
from breakascene.toybox.vocabulary import HELD_OUT, PLACES, join

ASKED = (
    "at the beach",
    "in the snow",
    "on a red background",
    "on a wooden table",
    "under the night sky",
    "on the grass",
    "on a blue background",
    "under water",
    "in the street",
    "on a white background",
)
ELSEWHERE = tuple(place for place in PLACES if place not in ASKED)
SIDE = 256  # of the photos, in pixels


@dataclass(frozen=True)
class Bench:
    """What is measured. A scene depends on the seed and its index alone, so that a shorter bench has the same ones."""

    seed: int
    scenes: int = 20
    places: tuple[str, ...] = ASKED
    largest: int = 3  # handles in a prompt, at most
    count: int = 2  # pictures of each prompt, each from a seed of its own
    things: tuple[int, ...] = (2, 3, 4)  # in a scene, in turn: 59 of the 60 in twenty scenes

    def scene(self, index: int) -> Scene:
        """Draw a scene: a photo with exact masks of what shows of each thing."""
        counts = [self.things[i % len(self.things)] for i in range(index + 1)]
        order = np.random.default_rng(self.seed).permutation(HELD_OUT)
        names = [str(order[i % len(order)]) for i in range(sum(counts[:-1]), sum(counts))]
        rng = np.random.default_rng([self.seed, index])
        drawn = draw_scene(rng, SIDE, names, str(rng.choice(ELSEWHERE)))
        return make_scene(Image.fromarray(drawn.pixels), list(drawn.masks), names)

    def prompts(self, handles: Sequence[str]) -> list[str]:
        """Every subset of the handles up to `largest`, single ones first, each in all places."""
        sizes = range(1, min(self.largest, len(handles)) + 1)
        subsets = [subset for size in sizes for subset in itertools.combinations(handles, size)]
        return [f"a photo of {join(subset)} {place}" for subset in subsets for place in self.places]


TOYBENCH = Bench(seed=2305)
SMALL = Bench(seed=2305, scenes=2, places=ASKED[:2], largest=2, count=1)  # a corner of it, for the tests
TUNING = Bench(seed=16311, scenes=3, places=ASKED[:4], largest=2, count=1)
