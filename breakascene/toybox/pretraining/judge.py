"""The toybox's judge: a small transformers CLIPModel that knows every thing and place of the world.

It stands in for CLIP and DINO in our measurements, so unlike the generator it trains on the held-out things too. It
looks at whole scenes (against their captions, places and styles) and at single regions, other pixels black (against
names), as they are drawn and as the toybox's segmenter cuts them.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image, ImageFilter
from transformers import CLIPConfig, CLIPModel

from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import MANNERS, SIDE, look, name_text, place_text, read, region, shrink
from breakascene.toybox.pretraining.autoencoder import SIZE, load_vae, through_vae
from breakascene.toybox.pretraining.sprites import picture
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import text_config
from breakascene.toybox.pretraining.trainer import Part, pick_device
from breakascene.toybox.pretraining.world import Drawn, place_thing, random_scene, varied_caption
from breakascene.toybox.vocabulary import EVERYTHING, EVERYWHERE

REGIONS, SCENES, OTHERS = 32, 8, 64
STYLED = 0.4  # share of the scenes that are in a style


def build() -> CLIPModel:
    vision = {
        "image_size": SIDE,
        "patch_size": 8,
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "projection_dim": 128,
    }
    text = text_config(128, 2).to_dict() | {"projection_dim": 128}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def drawn_region(rng, name: str) -> np.ndarray:
    """A region as a segmenter would cut it from a picture: lit, partly hidden, blurred, off at the edge."""
    size = int(rng.uniform(28, 96))
    alpha, colours = place_thing(rng, picture(name), size)
    light = rng.uniform(0.7, 1.08) * (1 + rng.normal(0, 0.07, 3))
    ground = rng.uniform(0, 1, 3)  # what shows where the mask reaches over the edge
    cover = np.pad(alpha, 3)[..., None]
    pixels = np.pad(colours, ((3, 3), (3, 3), (0, 0))) * light * cover + ground * (1 - cover)
    reach = Image.fromarray((cover[..., 0] * 255).astype(np.uint8))
    if (grow := rng.integers(-1, 2)) != 0:
        reach = reach.filter(ImageFilter.MaxFilter(3) if grow > 0 else ImageFilter.MinFilter(3))
    if rng.random() < 0.5:  # a segmenter's outline may be rough
        rough = reach.resize([max(3, side * int(rng.integers(7, 17)) // max(reach.size)) for side in reach.size])
        reach = rough.resize(reach.size, Image.Resampling.BILINEAR)
    mask = np.asarray(reach) > rng.uniform(90, 165)
    if rng.random() < 0.3:  # hidden from one side
        hidden, share = rng.integers(4), rng.uniform(0.6, 0.95)
        turned = np.rot90(mask, hidden).copy()
        turned[int(len(turned) * share) :] = False
        mask = np.rot90(turned, -hidden)
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.2) * size / 60))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 8), (*mask.shape, 3))
    return region(np.clip(noisy, 0, 255).astype(np.uint8), mask if mask.any() else np.ones_like(mask))


@torch.no_grad()
def segmented_regions(rng, segmenter: Segmenter, vae: AutoencoderKL) -> list[tuple[str, np.ndarray]]:
    """The things of a scene, blurred or as the VAE shows them now and then, as the segmenter cuts them after a click;
    bad cuts left out."""
    scene = random_scene(rng, SIZE, EVERYTHING)
    image, kind = Image.fromarray(scene.pixels), rng.random()
    if kind < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 3)))
    elif kind < 0.7:
        image = Image.fromarray(through_vae(rng, vae, scene.pixels))
    found = []
    for name, mask in zip(scene.names, scene.masks, strict=True):
        spots = np.argwhere(mask)
        if len(spots) > 320:
            y, x = spots[rng.integers(len(spots))]
            for answer in segmenter.predict([(int(x), int(y))], [True], photo=image).masks:
                if (answer & mask).sum() >= 0.6 * (answer | mask).sum():
                    found.append((name, region(np.asarray(image), answer)))
    return found


def _whole(rng) -> tuple[np.ndarray, Drawn, int]:
    """A scene as the judge sees it, (64, 64, 3), the scene, and which of MANNERS it is in."""
    scene = random_scene(rng, 96, EVERYTHING)
    manner = int(rng.integers(1, len(MANNERS))) if rng.random() < STYLED else 0
    return shrink(restyle(scene.pixels, MANNERS[manner]) if manner else scene.pixels), scene, manner


def part(folder: Path) -> Part:
    pool, cut = [], {}
    segmenter, vae = Segmenter.load("toybox"), load_vae(folder)
    vae.to(pick_device())

    def region_of(rng, name: str) -> np.ndarray:
        if name in cut and rng.random() < 0.5:
            return cut[name][rng.integers(len(cut[name]))]
        return drawn_region(rng, name)

    def loss(model, rng):
        for name, pixels in segmented_regions(rng, segmenter, vae):
            cut[name] = [*cut.get(name, [])[-20:], pixels]
        pool.extend(_whole(rng) for _ in range(SCENES if len(pool) < 600 else 4))
        del pool[: max(0, len(pool) - 3000)]
        shrunk, scenes, manners = zip(*(pool[i] for i in rng.integers(0, len(pool), SCENES)), strict=True)
        # Each region against the names of the others and some more: all 310 would cost more than they teach.
        asked = rng.choice(len(EVERYTHING), REGIONS + OTHERS, replace=False)
        places = torch.tensor([EVERYWHERE.index(s.place) for s in scenes], device=model.device)
        styles = torch.tensor(manners, device=model.device)
        pixels = [region_of(rng, EVERYTHING[i]) for i in asked[:REGIONS]] + list(shrunk)
        images = look(model, np.stack(pixels))
        texts = read(
            model,
            [name_text(EVERYTHING[i]) for i in asked]
            + [place_text(place) for place in EVERYWHERE]
            + list(MANNERS)
            + [
                varied_caption(rng, scene.names, scene.place, style=MANNERS[manner] if manner else "")
                for scene, manner in zip(scenes, manners, strict=True)
            ],
        )
        scale = model.logit_scale.exp()
        by_name, by_place, by_style, by_caption = texts.split([len(asked), len(EVERYWHERE), len(MANNERS), SCENES])
        answers = scale * images[:REGIONS] @ by_name.T
        goal = torch.arange(REGIONS, device=model.device)
        value = F.cross_entropy(answers, goal) + 0.3 * F.cross_entropy(scale * images[REGIONS:] @ by_place.T, places)
        value = value + 0.2 * F.cross_entropy(scale * images[REGIONS:] @ by_style.T, styles)
        pairs = scale * images[REGIONS:] @ by_caption.T
        same = torch.arange(SCENES, device=model.device)
        value = value + 0.15 * (F.cross_entropy(pairs, same) + F.cross_entropy(pairs.T, same))
        return value, {"loss": float(value.detach()), "names": float((answers.argmax(1) == goal).float().mean())}

    return Part("judge", build(), loss, export, shipped, rate=8e-4, decay=0.05, average=0.995)


def export(model: CLIPModel, folder: Path) -> None:
    half = build()
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder / "judge")


def shipped(folder: Path) -> dict[str, torch.Tensor]:
    return CLIPModel.from_pretrained(folder / "judge", dtype=torch.float32).state_dict()
