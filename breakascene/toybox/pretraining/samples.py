"""Render the sample scenes in assets/samples: python -m breakascene.toybox.pretraining.samples"""

from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.scene import make_scene, save_scene
from breakascene.paths import SAMPLES
from breakascene.toybox.pretraining.world import render_scene

SIZE = 256  # pixels
CONTENTS = {  # folder: (held-out objects, place, seed)
    "teapot-and-owl": (("teapot", "owl"), "on a wooden table", 5),
    "flamingo-and-cactus": (("flamingo", "cactus"), "on the grass", 1),
    "tractor-and-snowman": (("tractor", "snowman"), "in front of a brick wall", 3),
    "cupcake-crown-and-teddy-bear": (("cupcake", "crown", "teddy bear"), "on a white background", 2),
}


def make_samples(folder: Path = SAMPLES) -> None:
    """Write the sample scenes as scene folders."""
    for name, (objects, place, seed) in CONTENTS.items():
        rendered = render_scene(np.random.default_rng(seed), SIZE, objects, place)
        scene = make_scene(Image.fromarray(rendered.pixels), list(rendered.masks), list(rendered.names))
        save_scene(scene, folder / name)


if __name__ == "__main__":
    make_samples()
