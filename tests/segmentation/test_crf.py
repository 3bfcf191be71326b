"""Mask refinement: against plain NumPy, and on images with known outlines."""

import numpy as np
import pytest

from breakascene.segmentation import crf
from breakascene.segmentation.crf import click_logits, drop_small_components, refine_logits


@pytest.fixture()
def disc():
    """A red disc on a noisy green ground, and its mask."""
    ys, xs = np.mgrid[:64, :64]
    mask = np.square(ys - 30) + np.square(xs - 34) < 18**2
    noise = np.random.default_rng(0).normal(0, 4, (64, 64, 3))
    pixels = np.where(mask[..., None], (200, 60, 50), (60, 150, 70)) + noise
    return np.clip(pixels, 0, 255).astype(np.uint8), mask


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_a_coarse_mask_is_refined_to_the_outline(disc):
    pixels, mask = disc
    coarse = mask.reshape(8, 8, 8, 8).mean((1, 3)).repeat(8, 0).repeat(8, 1) > 0.5  # blocks of 8 pixels
    refined = refine_logits(pixels, np.stack([8.0 * coarse - 4, 4 - 8.0 * coarse])) > 0
    assert iou(coarse, mask) < 0.92
    assert iou(refined[0], mask) > 0.98 and iou(refined[1], ~mask) > 0.98


def test_one_iteration_equals_plain_numpy(monkeypatch):
    monkeypatch.setattr(crf, "ITERATIONS", 1)
    rng = np.random.default_rng(1)
    pixels, logits = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8), rng.normal(0, 3, (9, 11))
    unary, colors = crf.UNARY_WEIGHT * logits, pixels / 255
    expected = np.zeros((9, 11))
    for y, x in np.ndindex(9, 11):
        weights, beliefs = [], []
        for dy, dx in crf.neighbor_offsets():
            other = min(max(y + dy, 0), 8), min(max(x + dx, 0), 10)
            color_distance = np.square(colors[other] - colors[y, x]).sum()
            weights.append(
                np.exp(-color_distance / (2 * crf.COLOR_SIGMA**2) - (dy**2 + dx**2) / (2 * crf.DISTANCE_SIGMA**2))
            )
            beliefs.append(2 / (1 + np.exp(-unary[other])) - 1)
        expected[y, x] = unary[y, x] + crf.PAIRWISE_WEIGHT * np.dot(weights, beliefs) / (np.sum(weights) + 1e-6)
    assert np.allclose(refine_logits(pixels, logits[None])[0], expected, atol=1e-3)


def test_a_mask_without_edges_nearby_is_kept(disc):
    _, mask = disc
    refined = refine_logits(np.full((64, 64, 3), 120, np.uint8), 8.0 * mask[None] - 4)[0] > 0
    assert iou(refined, mask) > 0.95


def test_a_click_counts_for_near_and_similar_pixels(disc):
    pixels, mask = disc
    logits = click_logits(pixels, [(34, 30), (5.4, 60.2)], [True, False])
    assert (logits[30, 34], logits[60, 5]) == pytest.approx((crf.CLICK_LOGIT, -crf.CLICK_LOGIT), rel=0.01)
    assert logits[32, 36] > 5 and logits[58, 7] < -5  # near and similar
    assert abs(logits[30, 62]) < 0.1 and abs(logits[14, 20]) < 0.1  # far away; near the disc's edge, of another color
    assert logits.shape == mask.shape and not click_logits(pixels, [], []).any()


def test_small_components_are_dropped():
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 2:12, 2:12] = True  # 100 pixels
    masks[0, 12, 12] = True  # touches at a corner: the same component
    masks[1] = masks[0]
    masks[1, 15:18, 20:23] = True  # 9 pixels far away: too small
    masks[1, 2:12, 20:23] = True  # 30 pixels: large enough, such as the second of two socks
    cleaned = drop_small_components(masks)
    assert np.array_equal(cleaned[0], masks[0])
    assert np.array_equal(cleaned[1], masks[1] & ~(np.indices((20, 30))[0] >= 14))
    assert not cleaned[2].any()
