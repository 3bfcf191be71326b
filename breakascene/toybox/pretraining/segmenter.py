"""Training of the toybox's segmenter: segment-anything's Sam with a small encoder, on exact masks.

As in Segment Anything (arXiv 2304.02643), a click or a box prompts for one object, only the best of three candidate
masks is trained, and each further click corrects an error of the previous mask. Scenes with novel objects, with random
textured shapes and with things as in photos make it generalize to objects outside the toybox.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import nn

from breakascene.segmentation.small_sam import build_sam
from breakascene.toybox.pretraining.autoencoder import load_vae, reconstruct
from breakascene.toybox.pretraining.segmenter_scenes import MAX_OBJECTS, SegmenterBatch, SegmenterSampler
from breakascene.toybox.pretraining.trainer import Component, bf16_is_fast, default_device, prefetch

CONFIG = {"image_size": 128, "patch": 8, "width": 192, "depth": 4, "heads": 6, "prompt_width": 128}
GPU = default_device().type != "cpu"
BATCH = 128 if GPU else 16  # scenes
NEW_SCENES = 16 if GPU else 8  # rendered for each step; batches are sampled from the pool
POOL = 24_576 if GPU else 3000  # scenes
FIRST_SCENES = 2048 if GPU else 64  # rendered before the first step
PROMPTS = 2  # objects prompted for in each scene
ROUNDS = 3  # predictions for each prompt, each with one more click
BOX_PROB = 0.25  # of a prompt: a box instead of the first click
ENLARGED_PROB, SMALLEST_PART = 0.3, 0.6  # of a scene: only a part is shown, enlarged; its least share of the side
MIN_OBJECT_PIXELS = 30  # of an object that is prompted for
OUTSIDE, INSIDE, TOP_LEFT, BOTTOM_RIGHT, NONE = range(5)  # kinds of points of a prompt


def build() -> Sam:
    """Build the Sam for training, with an auxiliary head that is not exported.

    `outlines` predicts object and edge maps of 4 × 4 positions in each cell of the image embedding, which teaches the
    encoder outlines faster than clicks alone.
    """
    sam = build_sam(CONFIG)
    sam.outlines = nn.Conv2d(CONFIG["prompt_width"], 2 * 16, 1)
    return sam


class Pool:
    """A buffer of scenes on the device, each used several times; from POOL scenes on, new ones replace the oldest."""

    def __init__(self, vae: AutoencoderKL):
        self.vae, self.count = vae, 0
        size = CONFIG["image_size"]
        self.pixels = torch.zeros(POOL, 3, size, size, dtype=torch.uint8, device=vae.device)
        self.labels = torch.zeros(POOL, size, size, dtype=torch.uint8, device=vae.device)
        self.stored = torch.zeros((), device=vae.device)  # a tensor, so that a captured step reads new values

    def add(self, batch: SegmenterBatch) -> None:
        """Store scenes; the VAE reconstructs the first ones."""
        device, first = self.vae.device, batch.reconstructed
        pixels = torch.from_numpy(batch.pixels).to(device).permute(0, 3, 1, 2)
        if first:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
                pixels[:first] = reconstruct(self.vae, pixels[:first])
        rows = torch.arange(self.count, self.count + len(pixels), device=device) % POOL
        self.pixels[rows], self.labels[rows] = pixels, torch.from_numpy(batch.labels).to(device)
        self.count += len(pixels)
        self.stored.fill_(min(self.count, POOL))

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample scenes, half of them mirrored, some enlarged: pixels (B, 3, S, S) in 0..255, labels (B, S, S)."""
        rows = (torch.rand(count, device=self.stored.device) * self.stored).long()
        return _vary(self.pixels[rows].float(), self.labels[rows].float())


def segmenter_component(folder: Path) -> Component:
    """Return the segmenter for training."""
    sample_scenes = prefetch(SegmenterSampler(CONFIG["image_size"], NEW_SCENES))
    pool = Pool(load_vae(folder).to(default_device()))

    def draw(rng) -> int:
        before = pool.count
        pool.add(sample_scenes(rng))
        while pool.count < FIRST_SCENES:
            pool.add(sample_scenes(rng))
        return pool.count - before

    def loss(sam, _):
        return batch_loss(sam, *pool.sample(BATCH))

    return Component(
        "segmenter", build(), loss, export, load_exported, lr=8e-4, ema_decay=0.998, draw=draw, batch=BATCH
    )


def _vary(pixels: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror and enlarge scenes at random: pixels (B, 3, S, S), labels (B, S, S)."""
    count, size, device = len(pixels), pixels.shape[-1], pixels.device
    enlarged = torch.rand(count, 1, device=device) < ENLARGED_PROB
    part = torch.where(enlarged, torch.empty(count, 1, device=device).uniform_(SMALLEST_PART, 1), 1.0)
    mirror = torch.where(torch.rand(count, 1, device=device) < 0.5, -1.0, 1.0)
    shift_x, shift_y = ((1 - part) * torch.empty(count, 1, device=device).uniform_(-1, 1) for _ in range(2))
    axis = (torch.arange(size, device=device) * 2 + 1) / size - 1  # centers of the pixels, -1..1
    xs, ys = axis * part * mirror + shift_x, axis * part + shift_y  # (B, S)
    grid = torch.stack([xs[:, None].expand(-1, size, -1), ys[:, :, None].expand(-1, -1, size)], 3)
    pixels = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    labels = F.grid_sample(labels[:, None], grid, mode="nearest", padding_mode="border", align_corners=False)
    return pixels, labels[:, 0]


def batch_loss(sam: Sam, pixels: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Compute the loss of a batch: each scene is encoded once and prompted for PROMPTS objects by clicks or boxes.

    Nothing in it waits for the device.

    Args:
        sam: The model.
        pixels: Images, (B, 3, S, S) in 0..255.
        labels: The object that each pixel belongs to, 1 to MAX_OBJECTS; 0 outside; (B, S, S).

    Returns:
        The loss and values for the log: the mean IoU after each round, and the loss of the outlines.
    """
    device, size = pixels.device, pixels.shape[-1]
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device), cache_enabled=False)
    with bf16:
        embeddings = sam.image_encoder((pixels - sam.pixel_mean) / sam.pixel_std)  # (B, C, 16, 16)
        outline_logits = F.pixel_shuffle(sam.outlines(embeddings), 4)  # (B, 2, S/2, S/2)
    outline_loss = F.binary_cross_entropy_with_logits(outline_logits.float(), _outline_targets(labels))
    embeddings = embeddings.float().repeat_interleave(PROMPTS, 0)  # (N, C, 16, 16), N = B * PROMPTS
    masks, valid = _choose_objects(labels)  # (N, S, S), (N,)
    target = F.avg_pool2d(masks.float()[:, None], 2)  # (N, 1, S/2, S/2)
    points, kinds = _first_prompts(masks)
    losses, ious = [], []
    for _ in range(ROUNDS):
        prompts = _embed_prompts(sam, points, kinds)
        with bf16:
            logits, scores = _decode(sam, embeddings, prompts)  # (N, 4, S/2, S/2), (N, 4)
        loss, iou, best_logits = _mask_loss(logits.float(), scores.float(), target)
        losses.append(loss)
        ious.append((iou * valid).sum() / valid.sum().clamp(min=1))
        predicted = F.interpolate(best_logits, (size, size), mode="bilinear")[:, 0] > 0
        errors = predicted ^ masks
        errors = torch.where(errors.any(2).any(1)[:, None, None], errors, masks)
        new_points, new_kinds = _clicks(errors, masks)
        points, kinds = torch.cat([points, new_points], 1), torch.cat([kinds, new_kinds], 1)
    loss = (torch.stack(losses).mean(0) * valid).sum() / valid.sum().clamp(min=1)
    values = {f"iou_{k}": iou for k, iou in enumerate(ious, 1)}
    return loss + outline_loss, values | {"outlines": outline_loss.detach()}


def _choose_objects(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose PROMPTS objects in each scene: masks (N, S, S) bool, and whether they are large enough, (N,) floats."""
    areas = torch.stack([(labels == number).sum((1, 2)) for number in range(1, MAX_OBJECTS + 1)], 1)  # (B, objects)
    usable = areas >= MIN_OBJECT_PIXELS
    lots = torch.rand(len(labels), PROMPTS, MAX_OBJECTS, device=labels.device) * usable[:, None]
    numbers = 1 + lots.argmax(2)  # (B, PROMPTS)
    masks = labels[:, None] == numbers[..., None, None]
    return masks.flatten(0, 1), usable.any(1).float().repeat_interleave(PROMPTS, 0)


def _first_prompts(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a click and no second point, or a box: points (N, 2, 2) as x, y, and their kinds (N, 2)."""
    clicks, kinds = _clicks(masks, masks)
    boxed = torch.rand(len(masks), 1, device=masks.device) < BOX_PROB
    points = torch.where(boxed[..., None], _boxes(masks), torch.cat([clicks, torch.zeros_like(clicks)], 1))
    corners = torch.arange(TOP_LEFT, BOTTOM_RIGHT + 1, device=masks.device)
    return points, torch.where(boxed, corners, torch.cat([kinds, torch.full_like(kinds, NONE)], 1))


def _clicks(regions: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Click once in each region (N, S, S), half of the time rather in the inner part of a large one.

    Returns:
        Points (N, 1, 2) as x, y, and their kinds (N, 1).
    """
    size, rows = regions.shape[-1], torch.arange(len(regions), device=regions.device)
    coarse = F.avg_pool2d(regions.float()[:, None], 4)
    inner = F.interpolate(F.avg_pool2d(coarse, 5, 1, 2), (size, size))[:, 0]
    exponent = torch.where(torch.rand(len(regions), 1, 1, device=regions.device) < 0.5, 0.0, 5.0)
    # The largest of log(u) / weight is a sample with probabilities proportional to the weights.
    lots = torch.rand_like(inner).clamp(min=1e-7).log() / inner.clamp(min=0.01) ** exponent
    index = lots.masked_fill(~regions, -torch.inf).flatten(1).argmax(1)
    xs, ys = index % size, index // size
    return torch.stack([xs, ys], 1)[:, None].float(), masks[rows, ys, xs].long()[:, None]


def _boxes(masks: torch.Tensor) -> torch.Tensor:
    """Return imprecise bounding boxes of masks (N, S, S): corners (N, 2, 2) as x, y."""
    spans = []
    for covered in (masks.any(1), masks.any(2)):  # columns, rows
        covered = covered.float()
        last = covered.shape[1] - 1
        spans.append(torch.stack([covered.argmax(1), last - covered.flip(1).argmax(1)], 1))
    corners = torch.stack(spans, 2).float()
    side = (corners[:, 1] - corners[:, 0]).amax(1)[:, None, None]
    return corners + (torch.randn_like(corners) * 0.07 * side).clamp(-12, 12)


def _embed_prompts(sam: Sam, points: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Embed points (N, K, 2) of different kinds (N, K), as PromptEncoder does: (N, K, C).

    That one takes the same kinds of points for all prompts and waits for the device.
    """
    encoder = sam.prompt_encoder
    kind_embeddings = torch.cat([e.weight for e in (*encoder.point_embeddings, encoder.not_a_point_embed)])  # (5, C)
    positions = encoder.pe_layer.forward_with_coords(points + 0.5, encoder.input_image_size)
    return positions * (kinds != NONE)[..., None] + F.embedding(kinds, kind_embeddings)


def _decode(sam: Sam, embeddings: torch.Tensor, prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode prompts (N, K, C), each with its own image embedding (N, C, 16, 16).

    Returns the logits of four masks (N, 4, S/2, S/2) and their predicted IoU (N, 4).
    """
    # The decoder repeats a single image embedding and adds the dense prompts, so the embeddings are passed with those.
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(embeddings[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=prompts,
        dense_prompt_embeddings=embeddings + sam.prompt_encoder.no_mask_embed.weight[..., None, None],
    )


def _outline_targets(labels: torch.Tensor) -> torch.Tensor:
    """Return maps of the objects and of their edges, (B, 2, S/2, S/2) in [0, 1], for labels (B, S, S)."""
    padded = F.pad(labels[:, None], (0, 1, 0, 1), mode="replicate")  # (B, 1, S + 1, S + 1)
    inner = padded[..., :-1, :-1]
    edges = (padded[..., 1:, :-1] != inner) | (padded[..., :-1, 1:] != inner)
    return torch.cat([F.avg_pool2d((inner > 0).float(), 2), F.max_pool2d(edges.float(), 2)], 1)


def _mask_loss(logits, scores, target):
    """Compute cross-entropy and dice loss of the single mask and the best of three, and the error of the scores.

    Args:
        logits: Logits of the single mask and of three candidates, (N, 4, S/2, S/2).
        scores: Their predicted IoU, (N, 4).
        target: Coverage by the object, (N, 1, S/2, S/2).

    Returns:
        For each prompt the loss (N,), and the IoU (N,) and the logits (N, 1, S/2, S/2) of the candidate with the
        highest score.
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
    return loss, iou.gather(1, best)[:, 0], best_logits


def export(sam: Sam, folder: Path) -> None:
    """Write config.json and float16 weights."""
    folder = folder / "segmenter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    weights = {k: v.half().contiguous().cpu() for k, v in sam.state_dict().items() if not k.startswith("outlines.")}
    save_file(weights, folder / "model.safetensors")


def load_exported(folder: Path) -> dict[str, torch.Tensor]:
    return build().state_dict() | load_file(folder / "segmenter" / "model.safetensors")
