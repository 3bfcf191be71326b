"""Draw the sample scenes of assets/samples, of held-out things only: python -m breakascene.toybox.pretraining.samples"""

from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.scene import make_scene, save_scene
from breakascene.paths import ASSETS
from breakascene.toybox.pretraining.world import draw_scene

SIZE = 256
SAMPLES = {
    "teapot-and-owl": (("teapot", "owl"), "on a wooden table", 5),
    "flamingo-and-cactus": (("flamingo", "cactus"), "on the grass", 1),
    "tractor-and-snowman": (("tractor", "snowman"), "in front of a brick wall", 3),
    "cupcake-crown-and-teddy-bear": (("cupcake", "crown", "teddy bear"), "on a white background", 2),
}


def make_samples(folder: Path = ASSETS / "samples") -> None:
    for name, (things, place, seed) in SAMPLES.items():
        drawn = draw_scene(np.random.default_rng(seed), SIZE, things, place)
        scene = make_scene(Image.fromarray(drawn.pixels), list(drawn.masks), list(drawn.names))
        save_scene(scene, folder / name)


if __name__ == "__main__":
    make_samples()
