"""Photos with masks for a trial of the pilot, rendered from the toybox's world, with a plan that is ready to run."""

from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.mask_files import file_stems
from breakascene.files import atomic_folder
from breakascene.toybox.pretraining.world import render_scene, sample_content
from breakascene.toybox.vocabulary import HELD_OUT

SIZE = 256  # pixels
COUNTS = (0.4, 0.35, 0.15, 0.1)  # probabilities of one to four objects
MIN_VISIBLE = 0.01  # share of the photo; a scene that hides an object behind another is rendered anew
PLAN = """\
# A pilot on {count} rendered photos: python -m breakascene pilot run plan.yaml --out results
name: {count} photos of toys
photos: photos
masks: masks
base: toybox
presets: [quick]
prompts:
  - a photo of {{object}} at the beach
  - a photo of {{objects}} on the grass
inference_steps: 12
thresholds:
  photo: 0.5    # share of usable images of a photo that works
  pilot: 0.8    # share of photos that work
prices:         # examples: enter your own
  currency: EUR
  gpu_hour: 0.10
  person_hour: 45
  minutes_per_photo: 1.5
  minutes_per_image: 0.25
  reshoot: 60
"""


def write_pilot_photos(out: Path, count: int, seed: int = 0) -> None:
    """Write photos/NUMBER.png, masks/NUMBER/NAME.png and plan.yaml to a folder, atomically.

    The objects are ones that the toybox's generator has never seen.
    """
    with atomic_folder(out) as draft:
        for index in range(count):
            photo, masks = f"{index + 1:03d}", draft / "masks" / f"{index + 1:03d}"
            rendered = _scene(np.random.default_rng([seed, index]))
            (draft / "photos").mkdir(exist_ok=True)
            masks.mkdir(parents=True)
            Image.fromarray(rendered.pixels).save(draft / "photos" / f"{photo}.png")
            for stem, mask in zip(file_stems(rendered.names), rendered.masks, strict=True):
                Image.fromarray(mask.astype(np.uint8) * 255).save(masks / f"{stem}.png")
        (draft / "plan.yaml").write_text(PLAN.format(count=count), encoding="utf-8")


def _scene(rng: np.random.Generator):
    while True:
        rendered = render_scene(rng, SIZE, *sample_content(rng, HELD_OUT, COUNTS))
        if rendered.masks.mean((1, 2)).min() >= MIN_VISIBLE:
            return rendered
