"""Random training scenes of the generator: layouts, captions and places are sampled here, `drawing.py` draws them.

Sampling and the places take a CPU; the rest is done on the device of the training.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from breakascene.toybox.pretraining.batch_styles import restyle_batch
from breakascene.toybox.pretraining.drawing import (
    Textures,
    cutout_canvases,
    cutout_records,
    draw_scenes,
    object_cells,
    object_records,
    send,
)
from breakascene.toybox.pretraining.image_codes import Recipe, sample_cutout_pose, sample_recipe
from breakascene.toybox.pretraining.places import render_place
from breakascene.toybox.pretraining.text import tokenize, tokenizer
from breakascene.toybox.pretraining.world import random_caption, sample_content, sample_placements
from breakascene.toybox.vocabulary import STYLES, TRAINING

SIZE = 256  # pixels
FIXED_LAYOUT_PROB = 0.9  # of a scene (world.render_scene)
NOVEL_PROB = 0.5  # of each object (image_codes.novel_object)
EMPTY_PROB = 0.04  # of a scene: a place without objects
STYLE_PROB = 0.08  # of a scene
STAND_INS = ("thing", "toy", "object", "figure")  # words for novel objects in captions, replaced by their image codes
CAPTIONS = 4  # of each scene, to choose from
KEPT_PLACES = 96  # drawn places of a sampler, which scenes share; new ones replace the oldest
SCENES_PER_PLACE = 32  # sampled for each new place


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """N sampled scenes, to be drawn.

    Args:
        sampler: Number of the sampler, whose places they share.
        new_places: New places, (P, S, S, 3), uint8, which replace its oldest ones.
        first_place: Number of the sampler's places before these.
        places: Index of each scene's place among the kept ones, (N,).
        mirrored: Whether the place is mirrored, (N,).
        lights: Color of the light on objects, (N, 3).
        objects: Records of the objects (drawing.object_records).
        cutouts: Records of the novel objects as cut-outs (drawing.cutout_records).
        positions: Index of the scene and of the stand-in of each novel object, (2, M).
        styles: Index in STYLES of each scene, -1 for a photo, (N,).
        input_ids: Token ids of CAPTIONS captions each, (N, CAPTIONS, 32); stand-ins have ids after the vocabulary.
    """

    sampler: int
    new_places: np.ndarray
    first_place: int
    places: np.ndarray
    mirrored: np.ndarray
    lights: np.ndarray
    objects: np.ndarray
    cutouts: np.ndarray
    positions: np.ndarray
    styles: np.ndarray
    input_ids: np.ndarray


@dataclass(eq=False)
class SceneSampler:
    """Samples scenes of named and novel objects. Each worker process has a sampler of its own.

    Args:
        count: Number of scenes in a batch.
    """

    count: int
    kept: list[tuple[str, float, np.ndarray]] = field(default_factory=list)  # place, ground line, light
    drawn: int = 0  # places
    number: int | None = None

    def __call__(self, rng: np.random.Generator) -> SceneBatch:
        if self.number is None:
            self.number = int(rng.integers(2**62))
        first_place, new_places = self.drawn, self._draw_places(rng)
        scenes = [self._sample(rng, n) for n in range(self.count)]
        places, mirrored, lights, styles, input_ids = (np.array(x) for x in zip(*(s[:5] for s in scenes), strict=True))
        objects = [row for scene in scenes for row in scene[5]]
        novel = [(i, scene, r[1]) for i, (scene, _, r, _, _) in enumerate(objects) if r[0].second >= 0]
        return SceneBatch(
            self.number,
            new_places,
            first_place,
            places,
            mirrored,
            lights,
            object_records([(scene, layer, recipe, p) for scene, layer, (recipe, _), p, _ in objects]),
            cutout_records([(i, pose) for i, _, pose in novel]),
            np.array([(scene, objects[i][4]) for i, scene, _ in novel], int).reshape(-1, 2).T,
            styles,
            input_ids,
        )

    def _draw_places(self, rng) -> np.ndarray:
        missing = KEPT_PLACES - len(self.kept)
        pixels = np.zeros((missing or int(self.count / SCENES_PER_PLACE + rng.random()), SIZE, SIZE, 3), np.uint8)
        for image in pixels:
            place = sample_content(rng)[1]
            drawn, ground, light = render_place(rng, SIZE, place)
            image[:] = drawn * 255 + 0.5
            self.kept[self.drawn % KEPT_PLACES : self.drawn % KEPT_PLACES + 1] = [(place, ground, light)]
            self.drawn += 1
        return pixels

    def _sample(self, rng, scene: int) -> tuple:
        """Return place, mirrored, light, style, token ids and objects: scene, layer, recipe, placement, index."""
        index = int(rng.integers(len(self.kept)))
        place, ground, light = self.kept[index]
        fixed_layout = bool(rng.random() < FIXED_LAYOUT_PROB)
        names = sample_content(rng, TRAINING, (0.3, 0.35, 0.3, 0.05))[0]
        names = () if rng.random() < EMPTY_PROB else names
        novel = [rng.random() < NOVEL_PROB for _ in names]
        recipes = [
            (sample_recipe(rng), sample_cutout_pose(rng)) if is_novel else (Recipe(TRAINING.index(name), -1), None)
            for name, is_novel in zip(names, novel, strict=True)
        ]
        words = [STAND_INS[i] if is_novel else names[i] for i, is_novel in enumerate(novel)]
        style = int(rng.integers(len(STYLES))) if rng.random() < STYLE_PROB else -1
        style_name = STYLES[style] if style >= 0 else ""
        captions = [random_caption(rng, words, place, fixed_layout, style_name) for _ in range(CAPTIONS)]
        ids = tokenize(captions).numpy()
        for i, is_novel in enumerate(novel):
            if is_novel:
                ids[ids == tokenizer().convert_tokens_to_ids(f"{STAND_INS[i]}</w>")] = len(tokenizer()) + i
        placements = sample_placements(rng, len(names), ground, fixed_layout)
        objects = [(scene, layer, recipes[p.index], p, p.index) for layer, p in enumerate(placements)]
        return index, rng.random() < 0.5, light, style, ids, objects


@dataclass(frozen=True, eq=False)
class DrawnScenes:
    """Drawn scenes.

    Args:
        images: (N, 3, S, S), floats in [0, 1].
        covered: Pixels that belong to an object, (N, S, S), bool.
        canvases: Canvases of the M novel objects (models.image_codes), (M, s, s, 4), uint8.
    """

    images: torch.Tensor
    covered: torch.Tensor
    canvases: torch.Tensor


class SceneDrawer:
    """Draws the batches of samplers on a device, where it keeps the sprites and the samplers' places."""

    def __init__(self, device: torch.device, cell: int):
        self.device, self.cell = device, cell
        self.textures = Textures.load(device)
        self.places: dict[int, torch.Tensor] = {}  # of each sampler, (KEPT_PLACES, 3, S, S) uint8

    @torch.no_grad()
    def draw(self, batch: SceneBatch) -> DrawnScenes:
        device = self.device
        if batch.sampler not in self.places:
            self.places[batch.sampler] = torch.zeros(KEPT_PLACES, 3, SIZE, SIZE, dtype=torch.uint8, device=device)
        kept = self.places[batch.sampler]
        new = send((batch.first_place + np.arange(len(batch.new_places))) % KEPT_PLACES, device)
        kept[new] = send(batch.new_places, device).permute(0, 3, 1, 2)
        places = kept[send(batch.places, device)].float() / 255
        mirrored = send(batch.mirrored, device).view(-1, 1, 1, 1)
        places = torch.where(mirrored, places.flip(3), places)
        cells = object_cells(self.textures, batch.objects)
        images, masks = draw_scenes(places, send(batch.lights, device), cells, batch.objects)
        for style in range(len(STYLES)):
            if len(chosen := np.flatnonzero(batch.styles == style)):
                rows = send(chosen, device)
                images[rows] = restyle_batch(images[rows], STYLES[style])
        canvases = cutout_canvases(cells, batch.objects, batch.cutouts, self.cell)
        return DrawnScenes(images, masks.any(1), canvases)
