"""The toybox's segmenter: segment-anything's own Sam with a small encoder, trained on the world's exact masks.

Training follows the paper of Segment Anything in small: a click or a box asks for one thing; the three candidates are
judged by the best of them; each later click lands where the answer before was wrong. Beside the world's scenes it sees
new things in them and random shapes in random textures, so that it also does something sensible on what it never saw.
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
from breakascene.toybox.pretraining.autoencoder import load_vae, through_vae
from breakascene.toybox.pretraining.image_codes import variant
from breakascene.toybox.pretraining.trainer import Part, half_is_fast, pick_device
from breakascene.toybox.pretraining.world import Drawn, draw_scene, random_scene, random_words
from breakascene.toybox.vocabulary import HELD_OUT

CONFIG = {"image_size": 128, "patch": 8, "width": 192, "depth": 4, "heads": 6, "prompt_width": 128}
IMAGES, PROMPTS, CLICKS = 16, 2, 2  # scenes a step, things asked for in each, answers for each
SHAPES, NEW = 0.3, 0.4  # shares of the scenes: shapes instead of things, things that no list has
SHOWN = 0.4  # share of the scenes that are seen through the VAE, as drawn pictures are


def build() -> Sam:
    """The Sam that trains: `outlines` reads from each cell of the embedding, for 4 × 4 spots, whether a thing and
    whether an edge is there, so that embeddings learn outlines faster than by clicks alone. It is not exported."""
    sam = build_sam(CONFIG)
    sam.outlines = nn.Conv2d(CONFIG["prompt_width"], 2 * 16, 1)
    return sam


def part(folder: Path) -> Part:
    sam, vae = build(), load_vae(folder)
    vae.to(pick_device())
    pool = []  # scenes are used several times before they leave

    def loss(sam, rng):
        fresh = IMAGES if len(pool) < 400 else IMAGES // 2
        pool.extend(_scene(rng, vae) for _ in range(fresh))
        del pool[: max(0, len(pool) - 3000)]
        scenes = [pool[-1 - k] if k < fresh else pool[rng.integers(len(pool))] for k in range(IMAGES)]
        return step_loss(sam, rng, scenes)

    return Part("segmenter", sam, loss, export, shipped, rate=8e-4, average=0.998)


def _scene(rng, vae: AutoencoderKL) -> Drawn:
    kind, size = rng.random(), CONFIG["image_size"]
    if kind < SHAPES:
        drawn = shapes(rng, size)
    elif kind < SHAPES + NEW:
        names, place = random_words(rng)
        drawn = draw_scene(rng, size, names, place, pictures=[variant(rng) for _ in names])
    else:
        drawn = random_scene(rng, size)
    shown = rng.random() < SHOWN
    pixels = through_vae(rng, vae, drawn.pixels) if shown else _roughen(rng, drawn.pixels)
    return Drawn(pixels, drawn.masks, drawn.names, drawn.place)


def _roughen(rng, pixels):
    """What cameras do: another colour balance, blur and noise, now and then."""
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
    """Noise of several scales between two colours, sometimes striped. (S, S, 3) float 0..255"""
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


def shapes(rng, size) -> Drawn:
    """1 to 4 textured blobs, ellipses and polygons on a textured ground, with exact masks of what is visible."""
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
        cover = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32)[..., None] / 255
        pixels = pixels * (1 - cover) + _texture(rng, size) * cover
        masks &= cover[..., 0] < 0.5
        masks[i] = cover[..., 0] >= 0.5
    return Drawn(np.clip(pixels, 0, 255).astype(np.uint8), masks, ("shape",) * count, "")


def step_loss(sam, rng, scenes):
    """The loss of one batch: each scene embedded once, PROMPTS things asked for in each by a click or a box."""
    device = sam.pixel_mean.device
    half = torch.autocast(device.type, torch.bfloat16, enabled=half_is_fast(device))
    size = CONFIG["image_size"]
    usable = [[mask for mask in scene.masks if mask.sum() >= 30] for scene in scenes]
    scenes, usable = zip(*((scene, masks) for scene, masks in zip(scenes, usable, strict=True) if masks), strict=True)
    pixels = torch.from_numpy(np.stack([s.pixels for s in scenes])).to(device).permute(0, 3, 1, 2).float()
    with half:
        embeddings = sam.image_encoder((pixels - sam.pixel_mean) / sam.pixel_std)  # (B, C, 16, 16)
        read = F.pixel_shuffle(sam.outlines(embeddings), 4)  # (B, 2, S/2, S/2)
    outlines = F.binary_cross_entropy_with_logits(read.float(), _outlines(scenes).to(device))
    embeddings = embeddings.float().repeat_interleave(PROMPTS, 0)  # (N, C, 16, 16), N = B * PROMPTS
    masks = np.stack([own[rng.integers(len(own))] for own in usable for _ in range(PROMPTS)])  # (N, S, S)
    target = F.interpolate(torch.from_numpy(masks).to(device).float()[:, None], (size // 2, size // 2), mode="area")
    boxes = _boxes(rng, masks) if rng.random() < 0.25 else None
    points = None if boxes is not None else _clicks(rng, masks, masks)
    losses, hits = [], []
    for _ in range(CLICKS):
        with half:
            logits, scores = _decode(sam, embeddings, points, boxes)  # (N, 4, S/2, S/2), (N, 4)
        loss, iou, shown = _mask_loss(logits.float(), scores.float(), target)
        losses.append(loss)
        hits.append(iou)
        answer = F.interpolate(shown, (size, size), mode="bilinear")[:, 0] > 0
        wrong = answer.cpu().numpy() ^ masks
        where = np.where(wrong.any((1, 2))[:, None, None], wrong, masks)
        more = _clicks(rng, where, masks)
        points = more if points is None else tuple(np.concatenate(p, 1) for p in zip(points, more, strict=True))
    value = torch.stack(losses).mean() + outlines
    return value, {
        "iou_1": float(hits[0]),
        f"iou_{CLICKS}": float(hits[-1]),
        "outlines": float(outlines.detach()),
    }


def _clicks(rng, where, masks):
    """One click inside each of `where` (N, S, S): coordinates (N, 1, 2) as x, y; labels (N, 1), 1 in the mask."""
    spots = [np.argwhere(region) for region in where]
    coords = np.array([spot[rng.integers(len(spot))][::-1] for spot in spots])  # (N, 2)
    labels = masks[np.arange(len(masks)), coords[:, 1], coords[:, 0]]
    return coords[:, None].astype(np.float32), labels[:, None].astype(np.int64)


def _boxes(rng, masks):
    """The boxes about the masks, their sides off by a tenth or so. (P, 4) as x0, y0, x1, y1"""
    boxes = []
    for mask in masks:
        ys, xs = np.nonzero(mask)
        side = max(np.ptp(ys), np.ptp(xs))
        off = np.clip(rng.normal(0, 0.07, 4) * side, -12, 12)
        boxes.append(np.array([xs.min(), ys.min(), xs.max(), ys.max()]) + off)
    return np.array(boxes, np.float32)


def _decode(sam, embeddings, points, boxes):
    """The four mask logits (N, 4, S/2, S/2) of N requests, each to its embedding (N, C, 16, 16); scores (N, 4)."""
    device = embeddings.device
    if points is not None:
        points = tuple(torch.from_numpy(p).to(device) for p in points)
    boxes = None if boxes is None else torch.from_numpy(boxes).to(device)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
    # The decoder repeats one embedding for all requests and adds the dense prompts: so each comes in by that door.
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(embeddings[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense + embeddings,
    )


def _outlines(scenes: Sequence[Drawn]) -> torch.Tensor:
    """Where things and where edges of things are, (B, 2, S/2, S/2) of 0..1."""
    labels = [(1 + np.arange(len(s.masks)))[:, None, None] * s.masks for s in scenes]
    labels = np.stack([np.pad(own.sum(0), ((0, 1), (0, 1)), "edge") for own in labels])  # (B, S + 1, S + 1)
    edges = (labels[:, 1:, :-1] != labels[:, :-1, :-1]) | (labels[:, :-1, 1:] != labels[:, :-1, :-1])
    things = torch.from_numpy(labels[:, :-1, :-1] > 0).float()[:, None]
    return torch.cat([F.avg_pool2d(things, 2), F.max_pool2d(torch.from_numpy(edges).float()[:, None], 2)], 1)


def _mask_loss(logits, scores, target):
    """Cross-entropy + dice of the single answer and of the best of the three, and the error of the scores.

    Returns the loss, the mean IoU of the answers that the scores choose among the three, and those (N, 1, S/2, S/2).
    """
    goal = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, goal, reduction="none").mean((2, 3))
    shape = logits.sigmoid()
    dice = 1 - (2 * (shape * goal).sum((2, 3)) + 1) / (shape.sum((2, 3)) + goal.sum((2, 3)) + 1)
    each = 4 * entropy + dice  # (N, 4)
    with torch.no_grad():
        hard, goal = logits > 0, goal > 0.5
        iou = (hard & goal).sum((2, 3)) / (hard | goal).sum((2, 3)).clamp(min=1)
    chosen = 1 + scores[:, 1:].argmax(1, keepdim=True)  # (N, 1)
    loss = each[:, 0] + each[:, 1:].min(1).values + 0.1 * each[:, 1:].mean(1) + (scores - iou).square().mean(1)
    shown = logits.detach().take_along_dim(chosen[..., None, None], 1)
    return loss.mean(), iou.gather(1, chosen).mean(), shown


def export(sam: Sam, folder: Path) -> None:
    folder = folder / "segmenter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    weights = {k: v.half().contiguous().cpu() for k, v in sam.state_dict().items() if not k.startswith("outlines.")}
    save_file(weights, folder / "model.safetensors")


def shipped(folder: Path) -> dict[str, torch.Tensor]:
    return build().state_dict() | load_file(folder / "segmenter" / "model.safetensors")


def clicked_iou(segmenter, clicks: int, count: int = 100, seed: int = 30) -> float:
    """Mean IoU on fresh scenes of held-out things after some clicks.

    The first click lands well inside the thing; each later one in the middle of the largest mistake.
    """
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(count):
        scene = random_scene(rng, CONFIG["image_size"], HELD_OUT)
        segmenter.set_image(Image.fromarray(scene.pixels))
        mask = scene.masks[rng.integers(len(scene.masks))]
        points, labels, wrong = [], [], mask
        for _ in range(clicks):
            points.append(_innermost(wrong))
            labels.append(bool(mask[points[-1][1], points[-1][0]]))
            answer = segmenter.predict(points, labels).mask()
            wrong = answer ^ mask
            if not wrong.any():
                break
        figures.append((answer & mask).sum() / max(1, (answer | mask).sum()))
    return float(np.mean(figures))


def found_share(segmenter, count: int = 50, seed: int = 31) -> float:
    """The share of held-out things in fresh scenes that one of the automatic masks meets with an IoU of 0.5 or more."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        scene = random_scene(rng, CONFIG["image_size"], HELD_OUT)
        answers = segmenter.auto(Image.fromarray(scene.pixels))
        for mask in scene.masks:
            found.append(any((answer & mask).sum() >= 0.5 * (answer | mask).sum() for answer in answers))
    return float(np.mean(found))


def _innermost(region: np.ndarray) -> tuple[int, int]:
    """The point of a region (H, W) farthest from its edge, as x, y: peel it until the next peel would leave nothing."""
    left = torch.from_numpy(np.pad(region, 1)).float()[None, None]
    while (peeled := -F.max_pool2d(-left, 3, 1, 1)).any():
        left = peeled
    y, x = np.argwhere(left[0, 0].numpy() > 0)[0] - 1
    return int(x), int(y)
