import numpy as np
import pytest
import torch
from PIL import Image
from test_extract import short

from breakascene.extract import run_extraction
from breakascene.step import draw_view
from breakascene.views import Views, arrange


def disc(colour, size=40):
    yy, xx = np.mgrid[:size, :size] - size / 2
    alpha = Image.fromarray(((yy**2 + xx**2 < 300) * 255).astype(np.uint8))
    picture = Image.new("RGB", (size, size), colour)
    picture.putalpha(alpha)
    return picture


@pytest.mark.parametrize("seed", range(8))
def test_arranged_cutouts_are_where_their_masks_say(seed):
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    cutouts = [disc(tuple(colour.tolist())) for colour in colours]
    pixels, masks = arrange(cutouts, 128, np.random.default_rng(seed))
    assert pixels.shape == (128, 128, 3) and masks.shape == (3, 128, 128) and masks.any()
    assert masks.sum(0).max() == 1  # what lies behind is not in the mask
    for colour, mask in zip(colours, masks, strict=True):
        if mask.any():
            assert np.abs(pixels[mask] - colour).max(1).mean() < 20
    bare = pixels[~masks.any(0)]
    assert np.median(np.abs(bare - np.median(bare, 0)).max(1)) == 0  # one plain colour


def test_arrangements_vary_in_number_size_and_place():
    rng = np.random.default_rng(0)
    seen = [arrange([disc("red"), disc("green"), disc("blue")], 64, rng)[1] for _ in range(40)]
    counts = {int(masks.any((1, 2)).sum()) for masks in seen}
    areas = [mask.mean() for masks in seen for mask in masks if mask.any()]
    assert counts == {1, 2, 3} and max(areas) > 2 * min(areas)


def test_views_hold_photo_mirror_and_arrangements(tiny_base, scene):
    views = Views.of(scene, tiny_base, 10, seed=1)
    assert len(views.mean) == len(views.shown) == 12 and views.mean.shape[1:] == views.std.shape[1:]
    everything = tuple(range(len(scene.handles)))
    assert views.shown[0] == views.shown[1] == everything
    assert all(set(shown) < set(everything) for shown in views.shown[2:])  # never the photo's background
    for shown, masks in zip(views.shown, views.masks, strict=True):
        assert tuple(np.flatnonzero(masks.amax((1, 2)).numpy())) == shown
    again = Views.of(scene, tiny_base, 10, seed=1)
    assert torch.equal(views.mean, again.mean) and not torch.equal(views.mean, Views.of(scene, tiny_base, 10, 2).mean)


def test_share_of_arranged_steps(tiny_base, scene):
    views, rng = Views.of(scene, tiny_base, 10), torch.Generator().manual_seed(0)
    drawn = [draw_view(views, short(tiny_base, arranged=0.3), rng) for _ in range(2000)]
    assert abs(np.mean([view > 1 for view, _ in drawn]) - 0.3) < 0.03
    assert all(set(subset) <= set(views.shown[view]) for view, subset in drawn)
    assert all(view < 2 for view, _ in (draw_view(views, short(tiny_base), rng) for _ in range(100)))


def test_a_run_with_arrangements_is_the_same_again(tiny_base, scene):
    settings = short(tiny_base, arranged=0.7)
    one, two = (run_extraction(scene, tiny_base, settings) for _ in range(2))
    assert one.losses == two.losses and one.losses != run_extraction(scene, tiny_base, short(tiny_base)).losses
