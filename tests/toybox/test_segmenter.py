"""Training of the small segmenter: scenes that resemble photos, prompts, and the measurement by clicks."""

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from breakascene.data.scene import make_scene, save_scene
from breakascene.toybox.pretraining import clicks, segmenter
from breakascene.toybox.pretraining.photo_scenes import MIN_VISIBLE, photo_scene
from breakascene.toybox.pretraining.segmenter_scenes import MAX_OBJECTS
from breakascene.toybox.pretraining.world import render_scene


def test_scenes_that_resemble_photos_have_separate_masks_of_all_sizes():
    scenes = [photo_scene(np.random.default_rng(seed), 96) for seed in range(40)]
    for scene in scenes:
        assert scene.pixels.shape == (96, 96, 3) and scene.pixels.dtype == np.uint8
        assert 1 <= len(scene.masks) <= MAX_OBJECTS
        assert scene.masks.sum(0).max() == 1 and scene.masks.sum((1, 2)).min() >= MIN_VISIBLE
    shares = [mask.mean() for scene in scenes for mask in scene.masks]
    assert min(shares) < 0.02 and max(shares) > 0.4
    again = photo_scene(np.random.default_rng(3), 96)
    assert np.array_equal(again.pixels, scenes[3].pixels) and np.array_equal(again.masks, scenes[3].masks)


def test_prompts_are_embedded_as_segment_anything_does():
    sam, points = segmenter.build(), torch.tensor([[[30.0, 40.0], [90.0, 100.0]]])
    clicked = segmenter._embed_prompts(
        sam,
        torch.cat([points, torch.zeros(1, 1, 2)], 1),
        torch.tensor([[segmenter.INSIDE, segmenter.OUTSIDE, segmenter.NONE]]),
    )
    expected, _ = sam.prompt_encoder(points=(points, torch.tensor([[1, 0]])), boxes=None, masks=None)
    assert torch.allclose(clicked, expected, atol=1e-5)
    boxed = segmenter._embed_prompts(sam, points, torch.tensor([[segmenter.TOP_LEFT, segmenter.BOTTOM_RIGHT]]))
    expected, _ = sam.prompt_encoder(points=None, boxes=points.flatten(1), masks=None)
    assert torch.allclose(boxed, expected, atol=1e-5)


def test_clicks_and_boxes_mark_their_object():
    torch.manual_seed(0)
    masks = torch.zeros(50, 128, 128, dtype=torch.bool)
    masks[:, 20:60, 70:90] = True
    points, kinds = segmenter._clicks(masks, masks)
    xs, ys = points[:, 0].T
    assert (kinds == segmenter.INSIDE).all() and xs.min() >= 70 and xs.max() < 90 and ys.min() >= 20 and ys.max() < 60
    corners = segmenter._boxes(masks).mean(0)
    assert torch.allclose(corners, torch.tensor([[70.0, 20.0], [89.0, 59.0]]), atol=2)


def test_a_step_never_waits_for_the_device():
    """A tensor without values has none to wait for; on a GPU the step is captured as a graph."""
    with FakeTensorMode():
        sam = segmenter.build()
        scenes = segmenter._vary(torch.zeros(2, 3, 128, 128), torch.zeros(2, 128, 128))
        loss, values = segmenter.batch_loss(sam, *scenes)
        loss.backward()
    assert loss.shape == () and list(values) == ["iou_1", "iou_2", "iou_3", "outlines"]


def test_a_folder_of_photos_is_measured(tmp_path, capsys):
    rendered = render_scene(np.random.default_rng(4), 256, ("fox",), "on the grass")
    save_scene(make_scene(Image.fromarray(rendered.pixels), list(rendered.masks), ["fox"]), tmp_path / "meadow")
    clicks.measure(tmp_path)
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[2][:2] == ["meadow", "fox"] and rows[3][0] == "mean"
    assert 0.7 < float(rows[3][3]) <= 1
    with pytest.raises(typer.BadParameter, match="no scene folders"):
        clicks.measure(tmp_path / "meadow")
