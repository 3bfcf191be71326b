"""Training of the toybox's segmenter: segment-anything's Sam with a small encoder, on exact masks.

As in Segment Anything (arXiv 2304.02643), a click or a box prompts for one object, only the best of three candidate
masks is trained, and each further click corrects an error of the previous mask. Scenes with novel objects and with
random textured shapes make it generalize to objects outside the toybox.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import nn

from breakascene.segmentation.small_sam import build_sam
from breakascene.toybox.pretraining.autoencoder import load_vae, reconstruct
from breakascene.toybox.pretraining.image_codes import novel_object
from breakascene.toybox.pretraining.trainer import Component, bf16_is_fast, default_device
from breakascene.toybox.pretraining.world import RenderedScene, random_scene, render_scene, sample_content
from breakascene.toybox.vocabulary import HELD_OUT

CONFIG = {"image_size": 128, "patch": 8, "width": 192, "depth": 4, "heads": 6, "prompt_width": 128}
BATCH = 16  # scenes
PROMPTS = 2  # objects prompted for in each scene
ROUNDS = 2  # predictions for each prompt; the second has one more click
SHAPES_PROB, NOVEL_PROB = 0.3, 0.4  # of a scene: random shapes, novel objects
RECONSTRUCTION_PROB = 0.4  # of a scene: reconstructed by the VAE, to look like a generated image


def build() -> Sam:
    """Build the Sam for training, with an auxiliary head that is not exported.

    `outlines` predicts object and edge maps of 4 × 4 positions in each cell of the image embedding, which teaches the
    encoder outlines faster than clicks alone.
    """
    sam = build_sam(CONFIG)
    sam.outlines = nn.Conv2d(CONFIG["prompt_width"], 2 * 16, 1)
    return sam


def segmenter_component(folder: Path) -> Component:
    """Return the segmenter for training."""
    sam, vae = build(), load_vae(folder)
    vae.to(default_device())
    pool = []  # scenes, each used several times

    def loss(sam, rng):
        new = BATCH if len(pool) < 400 else BATCH // 2
        pool.extend(_sample_scene(rng, vae) for _ in range(new))
        del pool[: max(0, len(pool) - 3000)]
        scenes = [pool[-1 - k] if k < new else pool[rng.integers(len(pool))] for k in range(BATCH)]
        return batch_loss(sam, rng, scenes)

    return Component("segmenter", sam, loss, export, load_exported, lr=8e-4, ema_decay=0.998)


def _sample_scene(rng, vae: AutoencoderKL) -> RenderedScene:
    kind, size = rng.random(), CONFIG["image_size"]
    if kind < SHAPES_PROB:
        scene = random_shapes(rng, size)
    elif kind < SHAPES_PROB + NOVEL_PROB:
        names, place = sample_content(rng)
        scene = render_scene(rng, size, names, place, sprites=[novel_object(rng) for _ in names])
    else:
        scene = random_scene(rng, size)
    reconstructed = rng.random() < RECONSTRUCTION_PROB
    pixels = reconstruct(rng, vae, scene.pixels) if reconstructed else _camera_effects(rng, scene.pixels)
    return RenderedScene(pixels, scene.masks, scene.names, scene.place)


def _camera_effects(rng, pixels):
    """Vary contrast and color balance, blur and add noise, each with a probability."""
    x = pixels.astype(np.float32)
    if rng.random() < 0.5:
        x = (x - 128) * rng.uniform(0.6, 1.2) + 128 * rng.uniform(0.75, 1.2, 3)
        x = x[..., rng.permutation(3)]
    if rng.random() < 0.3:
        blurred = Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3))
        )
        x = np.asarray(blurred, np.float32)
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(2, 14), x.shape)
    return np.clip(x, 0, 255).astype(np.uint8)


def _texture(rng, size):
    """Return noise of several scales between two colors, sometimes striped. (S, S, 3), floats in [0, 255]"""
    total = np.zeros((size, size), np.float32)
    for cells in (2, 5, 12, 40):
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)) * rng.uniform(0, 0.6)
    if rng.random() < 0.3:
        yy, xx = np.mgrid[:size, :size] / size
        angle = rng.uniform(0, np.pi)
        total += np.sin((np.cos(angle) * xx + np.sin(angle) * yy) * rng.uniform(20, 90)) * rng.uniform(0.3, 1)
    first, second = rng.uniform(0, 255, (2, 3))
    share = np.clip(total * rng.uniform(0.2, 1) + 0.5, 0, 1)[..., None]
    return first * share + second * (1 - share)


def random_shapes(rng, size) -> RenderedScene:
    """Render 1 to 4 textured blobs, ellipses and polygons on a textured ground, with masks of their visible pixels."""
    pixels = _texture(rng, size)
    count = int(rng.integers(1, 5))
    masks = np.zeros((count, size, size), bool)
    for i in range(count):
        canvas = Image.new("L", (size * 2, size * 2))
        draw = ImageDraw.Draw(canvas)
        x, y = rng.uniform(0.15, 0.85, 2) * size * 2
        r = size * 2 * rng.uniform(0.08, 0.35)
        kind = rng.integers(3)
        if kind == 0:
            a, b = r * rng.uniform(0.5, 1, 2)
            draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
        else:
            corners = int(rng.integers(3, 8)) if kind == 1 else 40
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if kind == 1 else np.linspace(0, 2 * np.pi, corners)
            waves = sum(rng.uniform(-0.25, 0.25) * np.sin(k * angles + rng.uniform(0, 6)) for k in (2, 3, 4, 5))
            radii = r * (rng.uniform(0.6, 1, corners) if kind == 1 else np.clip(0.75 + waves, 0.15, 1.3))
            draw.polygon(list(zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)), fill=255)
        opacity = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32)[..., None] / 255
        pixels = pixels * (1 - opacity) + _texture(rng, size) * opacity
        masks &= opacity[..., 0] < 0.5
        masks[i] = opacity[..., 0] >= 0.5
    return RenderedScene(np.clip(pixels, 0, 255).astype(np.uint8), masks, ("shape",) * count, "")


def batch_loss(sam: Sam, rng, scenes: Sequence[RenderedScene]) -> tuple[torch.Tensor, dict[str, float]]:
    """Compute the loss of a batch: each scene is encoded once and prompted for PROMPTS objects by clicks or boxes."""
    device = sam.pixel_mean.device
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device))
    size = CONFIG["image_size"]
    usable = [[mask for mask in scene.masks if mask.sum() >= 30] for scene in scenes]
    scenes, usable = zip(*((scene, masks) for scene, masks in zip(scenes, usable, strict=True) if masks), strict=True)
    pixels = torch.from_numpy(np.stack([s.pixels for s in scenes])).to(device).permute(0, 3, 1, 2).float()
    with bf16:
        embeddings = sam.image_encoder((pixels - sam.pixel_mean) / sam.pixel_std)  # (B, C, 16, 16)
        outline_logits = F.pixel_shuffle(sam.outlines(embeddings), 4)  # (B, 2, S/2, S/2)
    outline_loss = F.binary_cross_entropy_with_logits(outline_logits.float(), _outline_targets(scenes).to(device))
    embeddings = embeddings.float().repeat_interleave(PROMPTS, 0)  # (N, C, 16, 16), N = B * PROMPTS
    masks = np.stack([choices[rng.integers(len(choices))] for choices in usable for _ in range(PROMPTS)])  # (N, S, S)
    target = F.interpolate(torch.from_numpy(masks).to(device).float()[:, None], (size // 2, size // 2), mode="area")
    boxes = _boxes(rng, masks) if rng.random() < 0.25 else None
    points = None if boxes is not None else _clicks(rng, masks, masks)
    losses, ious = [], []
    for _ in range(ROUNDS):
        with bf16:
            logits, scores = _decode(sam, embeddings, points, boxes)  # (N, 4, S/2, S/2), (N, 4)
        loss, iou, best_logits = _mask_loss(logits.float(), scores.float(), target)
        losses.append(loss)
        ious.append(iou)
        predicted = F.interpolate(best_logits, (size, size), mode="bilinear")[:, 0] > 0
        errors = predicted.cpu().numpy() ^ masks
        regions = np.where(errors.any((1, 2))[:, None, None], errors, masks)
        clicks = _clicks(rng, regions, masks)
        points = clicks if points is None else tuple(np.concatenate(p, 1) for p in zip(points, clicks, strict=True))
    return torch.stack(losses).mean() + outline_loss, {
        "iou_1": float(ious[0]),
        f"iou_{ROUNDS}": float(ious[-1]),
        "outlines": float(outline_loss.detach()),
    }


def _clicks(rng, regions, masks):
    """Click once in each region (N, S, S): coordinates (N, 1, 2) as x, y; labels (N, 1), 1 inside the mask."""
    candidates = [np.argwhere(region) for region in regions]
    coords = np.array([pixels[rng.integers(len(pixels))][::-1] for pixels in candidates])  # (N, 2)
    labels = masks[np.arange(len(masks)), coords[:, 1], coords[:, 0]]
    return coords[:, None].astype(np.float32), labels[:, None].astype(np.int64)


def _boxes(rng, masks):
    """Return imprecise bounding boxes of masks (N, S, S): (N, 4) as x0, y0, x1, y1."""
    boxes = []
    for mask in masks:
        ys, xs = np.nonzero(mask)
        side = max(np.ptp(ys), np.ptp(xs))
        noise = np.clip(rng.normal(0, 0.07, 4) * side, -12, 12)
        boxes.append(np.array([xs.min(), ys.min(), xs.max(), ys.max()]) + noise)
    return np.array(boxes, np.float32)


def _decode(sam, embeddings, points, boxes):
    """Decode N prompts, each with its own image embedding (N, C, 16, 16).

    Returns the logits of four masks (N, 4, S/2, S/2) and their predicted IoU (N, 4).
    """
    device = embeddings.device
    if points is not None:
        points = tuple(torch.from_numpy(p).to(device) for p in points)
    boxes = None if boxes is None else torch.from_numpy(boxes).to(device)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
    # The decoder repeats a single image embedding and adds the dense prompts, so the embeddings are passed with those.
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(embeddings[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense + embeddings,
    )


def _outline_targets(scenes: Sequence[RenderedScene]) -> torch.Tensor:
    """Return maps of the objects and of their edges, (B, 2, S/2, S/2) in [0, 1]."""
    labels = [(1 + np.arange(len(s.masks)))[:, None, None] * s.masks for s in scenes]
    labels = np.stack([np.pad(label.sum(0), ((0, 1), (0, 1)), "edge") for label in labels])  # (B, S + 1, S + 1)
    edges = (labels[:, 1:, :-1] != labels[:, :-1, :-1]) | (labels[:, :-1, 1:] != labels[:, :-1, :-1])
    objects = torch.from_numpy(labels[:, :-1, :-1] > 0).float()[:, None]
    return torch.cat([F.avg_pool2d(objects, 2), F.max_pool2d(torch.from_numpy(edges).float()[:, None], 2)], 1)


def _mask_loss(logits, scores, target):
    """Compute cross-entropy and dice loss of the single mask and the best of three, and the error of the scores.

    Args:
        logits: Logits of the single mask and of three candidates, (N, 4, S/2, S/2).
        scores: Their predicted IoU, (N, 4).
        target: Coverage by the object, (N, 1, S/2, S/2).

    Returns:
        The loss, and the mean IoU and the logits (N, 1, S/2, S/2) of the candidates with the highest scores.
    """
    target = target.expand_as(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    probabilities = logits.sigmoid()
    intersection, total = (probabilities * target).sum((2, 3)), probabilities.sum((2, 3)) + target.sum((2, 3))
    dice = 1 - (2 * intersection + 1) / (total + 1)
    losses = 4 * cross_entropy + dice  # (N, 4)
    with torch.no_grad():
        predicted, exact = logits > 0, target > 0.5
        iou = (predicted & exact).sum((2, 3)) / (predicted | exact).sum((2, 3)).clamp(min=1)
    best = 1 + scores[:, 1:].argmax(1, keepdim=True)  # (N, 1)
    candidates = losses[:, 1:]
    loss = losses[:, 0] + candidates.min(1).values + 0.1 * candidates.mean(1) + (scores - iou).square().mean(1)
    best_logits = logits.detach().take_along_dim(best[..., None, None], 1)
    return loss.mean(), iou.gather(1, best).mean(), best_logits


def export(sam: Sam, folder: Path) -> None:
    """Write config.json and float16 weights."""
    folder = folder / "segmenter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    weights = {k: v.half().contiguous().cpu() for k, v in sam.state_dict().items() if not k.startswith("outlines.")}
    save_file(weights, folder / "model.safetensors")


def load_exported(folder: Path) -> dict[str, torch.Tensor]:
    return build().state_dict() | load_file(folder / "segmenter" / "model.safetensors")


def clicked_iou(segmenter, clicks: int, count: int = 100, seed: int = 30) -> float:
    """Return the mean IoU after a number of clicks, over new scenes of held-out objects.

    The first click lies at the innermost point of the object, each later one at that of the errors.
    """
    rng = np.random.default_rng(seed)
    ious = []
    for _ in range(count):
        scene = random_scene(rng, CONFIG["image_size"], HELD_OUT)
        segmenter.set_image(Image.fromarray(scene.pixels))
        mask = scene.masks[rng.integers(len(scene.masks))]
        points, labels, errors = [], [], mask
        for _ in range(clicks):
            points.append(_innermost_point(errors))
            labels.append(bool(mask[points[-1][1], points[-1][0]]))
            predicted = segmenter.predict(points, labels).mask()
            errors = predicted ^ mask
            if not errors.any():
                break
        ious.append((predicted & mask).sum() / max(1, (predicted | mask).sum()))
    return float(np.mean(ious))


def automatic_recall(segmenter, count: int = 50, seed: int = 31) -> float:
    """Return the share of held-out objects in new scenes that an automatic mask matches with an IoU of 0.5 or more."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        scene = random_scene(rng, CONFIG["image_size"], HELD_OUT)
        candidates = segmenter.auto(Image.fromarray(scene.pixels))
        for mask in scene.masks:
            found.append(any((c & mask).sum() >= 0.5 * (c | mask).sum() for c in candidates))
    return float(np.mean(found))


def _innermost_point(region: np.ndarray) -> tuple[int, int]:
    """Return a point of a region (H, W) farthest from its edge, as x, y, by repeated erosion."""
    remaining = torch.from_numpy(np.pad(region, 1)).float()[None, None]
    while (eroded := -F.max_pool2d(-remaining, 3, 1, 1)).any():
        remaining = eroded
    y, x = np.argwhere(remaining[0, 0].numpy() > 0)[0] - 1
    return int(x), int(y)
