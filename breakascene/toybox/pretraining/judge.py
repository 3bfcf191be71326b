"""Training of the toybox's judge, a small transformers CLIPModel.

It replaces CLIP and DINO in our measurements, so unlike the generator it trains on the held-out objects too. Whole
scenes are matched with captions, places and styles; single regions, on black, with names. Regions come from sprites
and from the toybox's segmenter.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image, ImageFilter
from transformers import CLIPConfig, CLIPModel

from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import (
    IMAGE_SIZE,
    STYLE_PROMPTS,
    crop_region,
    encode_images,
    encode_texts,
    object_prompt,
    place_prompt,
    resize,
)
from breakascene.toybox.pretraining.autoencoder import SIZE, load_vae, reconstruct
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import text_config
from breakascene.toybox.pretraining.trainer import Component, default_device
from breakascene.toybox.pretraining.world import (
    RenderedScene,
    random_caption,
    random_scene,
    sample_pose,
    transform_sprite,
)
from breakascene.toybox.vocabulary import ALL_NAMES, ALL_PLACES

REGIONS, SCENES = 32, 8  # in a batch
NEGATIVES = 64  # names besides the batch's own that regions are compared with
STYLE_PROB = 0.4  # of a scene
MIN_OBJECT_PIXELS = 320  # of a region at SIZE
MIN_IOU = 0.6  # of a segmented region with the exact mask


def build() -> CLIPModel:
    """Build the judge with random weights."""
    vision = {
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "projection_dim": 128,
    }
    text = text_config(128, 2).to_dict() | {"projection_dim": 128}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def synthetic_region(rng, name: str) -> np.ndarray:
    """Imitate a segmented region of an object: relit, occluded, blurred, with an imprecise outline. (64, 64, 3)"""
    size = int(rng.uniform(28, 96))
    alpha, colors = transform_sprite(load_sprite(name), size, sample_pose(rng))
    light = rng.uniform(0.7, 1.08) * (1 + rng.normal(0, 0.07, 3))
    ground = rng.uniform(0, 1, 3)  # visible where the mask exceeds the object
    opacity = np.pad(alpha, 3)[..., None]
    pixels = np.pad(colors, ((3, 3), (3, 3), (0, 0))) * light * opacity + ground * (1 - opacity)
    outline = Image.fromarray((opacity[..., 0] * 255).astype(np.uint8))
    if (growth := rng.integers(-1, 2)) != 0:
        outline = outline.filter(ImageFilter.MaxFilter(3) if growth > 0 else ImageFilter.MinFilter(3))
    if rng.random() < 0.5:  # coarse, as a segmenter's outline may be
        coarse = outline.resize([max(3, side * int(rng.integers(7, 17)) // max(outline.size)) for side in outline.size])
        outline = coarse.resize(outline.size, Image.Resampling.BILINEAR)
    mask = np.asarray(outline) > rng.uniform(90, 165)
    if rng.random() < 0.3:  # occluded from one side
        direction, visible = rng.integers(4), rng.uniform(0.6, 0.95)
        rotated = np.rot90(mask, direction).copy()
        rotated[int(len(rotated) * visible) :] = False
        mask = np.rot90(rotated, -direction)
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.2) * size / 60))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 8), (*mask.shape, 3))
    return crop_region(np.clip(noisy, 0, 255).astype(np.uint8), mask if mask.any() else np.ones_like(mask))


@torch.no_grad()
def segmented_regions(rng, segmenter: Segmenter, vae: AutoencoderKL) -> list[tuple[str, np.ndarray]]:
    """Segment the objects of a random scene by a click each; return names and regions with an accurate mask.

    The scene is blurred or reconstructed by the VAE in 70 % of the cases.
    """
    scene = random_scene(rng, SIZE, ALL_NAMES)
    image, kind = Image.fromarray(scene.pixels), rng.random()
    if kind < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 3)))
    elif kind < 0.7:
        pixels = torch.from_numpy(scene.pixels).permute(2, 0, 1)[None].to(vae.device)
        image = Image.fromarray(reconstruct(vae, pixels)[0].permute(1, 2, 0).cpu().numpy())
    found = []
    for name, mask in zip(scene.names, scene.masks, strict=True):
        inside = np.argwhere(mask)
        if len(inside) > MIN_OBJECT_PIXELS:
            y, x = inside[rng.integers(len(inside))]
            for candidate in segmenter.predict([(int(x), int(y))], [True], photo=image).masks:
                if (candidate & mask).sum() >= MIN_IOU * (candidate | mask).sum():
                    found.append((name, crop_region(np.asarray(image), candidate)))
    return found


def _styled_scene(rng) -> tuple[np.ndarray, RenderedScene, int]:
    """Return a scene resized for the judge, (64, 64, 3), the scene itself and the index of its STYLE_PROMPT."""
    scene = random_scene(rng, 96, ALL_NAMES)
    style = int(rng.integers(1, len(STYLE_PROMPTS))) if rng.random() < STYLE_PROB else 0
    return resize(restyle(scene.pixels, STYLE_PROMPTS[style]) if style else scene.pixels), scene, style


def judge_component(folder: Path) -> Component:
    """Return the judge for training."""
    pool: list = []  # scenes, each used several times
    segmented: dict[str, list[np.ndarray]] = {}  # the latest regions of each object
    segmenter, vae = Segmenter.load("toybox"), load_vae(folder)
    vae.to(default_device())

    def region_of(rng, name: str) -> np.ndarray:
        if name in segmented and rng.random() < 0.5:
            return segmented[name][rng.integers(len(segmented[name]))]
        return synthetic_region(rng, name)

    def loss(model, rng):
        for name, pixels in segmented_regions(rng, segmenter, vae):
            segmented[name] = [*segmented.get(name, [])[-20:], pixels]
        pool.extend(_styled_scene(rng) for _ in range(SCENES if len(pool) < 600 else 4))
        del pool[: max(0, len(pool) - 3000)]
        images, scenes, styles = zip(*(pool[i] for i in rng.integers(0, len(pool), SCENES)), strict=True)
        # Regions are compared with 96 of the 310 names: encoding all in each step would take three times as long.
        names = [ALL_NAMES[i] for i in rng.choice(len(ALL_NAMES), REGIONS + NEGATIVES, replace=False)]
        place_labels = torch.tensor([ALL_PLACES.index(scene.place) for scene in scenes], device=model.device)
        style_labels = torch.tensor(styles, device=model.device)
        regions = [region_of(rng, name) for name in names[:REGIONS]]
        region_features, scene_features = encode_images(model, np.stack([*regions, *images])).split([REGIONS, SCENES])
        captions = [
            random_caption(rng, scene.names, scene.place, style=STYLE_PROMPTS[style] if style else "")
            for scene, style in zip(scenes, styles, strict=True)
        ]
        prompts = [object_prompt(name) for name in names] + [place_prompt(place) for place in ALL_PLACES]
        texts = encode_texts(model, [*prompts, *STYLE_PROMPTS, *captions])
        sizes = [len(names), len(ALL_PLACES), len(STYLE_PROMPTS), SCENES]
        name_features, place_features, style_features, caption_features = texts.split(sizes)
        scale = model.logit_scale.exp()
        name_logits = scale * region_features @ name_features.T
        name_labels = torch.arange(REGIONS, device=model.device)
        loss = F.cross_entropy(name_logits, name_labels)
        loss = loss + 0.3 * F.cross_entropy(scale * scene_features @ place_features.T, place_labels)
        loss = loss + 0.2 * F.cross_entropy(scale * scene_features @ style_features.T, style_labels)
        caption_logits = scale * scene_features @ caption_features.T
        pairs = torch.arange(SCENES, device=model.device)
        loss = loss + 0.15 * (F.cross_entropy(caption_logits, pairs) + F.cross_entropy(caption_logits.T, pairs))
        accuracy = (name_logits.argmax(1) == name_labels).float().mean()
        return loss, {"loss": float(loss.detach()), "accuracy": float(accuracy)}

    return Component("judge", build(), loss, export, load_exported, lr=8e-4, weight_decay=0.05, ema_decay=0.995)


def export(model: CLIPModel, folder: Path) -> None:
    """Write float16 weights."""
    half = build()
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder / "judge")


def load_exported(folder: Path) -> dict[str, torch.Tensor]:
    return CLIPModel.from_pretrained(folder / "judge", dtype=torch.float32).state_dict()
