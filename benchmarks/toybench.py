"""ToyBench: fixed scenes of objects that the toybox's generator has never seen, and prompts for them.

Twenty scenes of 2, 3 and 4 held-out objects in turn, each object in one scene only. The prompts place every subset of
up to three concepts in ten places that do not occur in the photos. TUNING has other scenes of the same objects, for
choosing settings. Prompts have no styles, because the judge was trained on regions of photos only.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from breakascene.data.scene import Scene, make_scene
from breakascene.toybox.pretraining.world import render_scene
from breakascene.toybox.vocabulary import HELD_OUT, PLACES, join

PROMPT_PLACES = (
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
PHOTO_PLACES = tuple(place for place in PLACES if place not in PROMPT_PLACES)
PHOTO_SIZE = 256  # pixels


@dataclass(frozen=True)
class Bench:
    """Scenes and prompts. A scene depends only on seed and index, so a shorter bench has the same first scenes.

    Args:
        seed: Seed of all scenes.
        scenes: Number of scenes.
        places: Places in the prompts.
        largest: Most handles in a prompt.
        count: Images for each prompt, from different seeds.
        object_counts: Numbers of objects in the scenes, in turn; twenty scenes use 59 of the 60 held-out objects.
    """

    seed: int
    scenes: int = 20
    places: tuple[str, ...] = PROMPT_PLACES
    largest: int = 3
    count: int = 2
    object_counts: tuple[int, ...] = (2, 3, 4)

    def scene(self, index: int) -> Scene:
        """Return a scene: a rendered photo with exact masks of the visible pixels of each object."""
        counts = [self.object_counts[i % len(self.object_counts)] for i in range(index + 1)]
        order = np.random.default_rng(self.seed).permutation(HELD_OUT)
        names = [str(order[i % len(order)]) for i in range(sum(counts[:-1]), sum(counts))]
        rng = np.random.default_rng([self.seed, index])
        rendered = render_scene(rng, PHOTO_SIZE, names, str(rng.choice(PHOTO_PLACES)))
        return make_scene(Image.fromarray(rendered.pixels), list(rendered.masks), names)

    def prompts(self, handles: Sequence[str]) -> list[str]:
        """Return prompts for every subset of up to `largest` handles, single handles first, each in all places."""
        sizes = range(1, min(self.largest, len(handles)) + 1)
        subsets = [subset for size in sizes for subset in itertools.combinations(handles, size)]
        return [f"a photo of {join(subset)} {place}" for subset in subsets for place in self.places]


TOYBENCH = Bench(seed=2305)
SMALL = Bench(seed=2305, scenes=2, places=PROMPT_PLACES[:2], largest=2, count=1)  # for tests
TUNING = Bench(seed=16311, scenes=3, places=PROMPT_PLACES[:4], largest=2, count=1)
