"""Loss curves, overlays, contact sheets, scatter plots and their colors."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from breakascene import studio
from breakascene.rendering import curves
from breakascene.rendering import scatter as scatter_plots
from breakascene.rendering.curves import loss_curves, smooth
from breakascene.rendering.overlay import overlay
from breakascene.rendering.palette import PALETTE
from breakascene.rendering.scatter import ScatterPoint, scatter
from breakascene.rendering.sheets import contact_sheet


def test_loss_curves_have_a_panel_each_and_fall_where_the_loss_falls():
    losses = [{"total": 1.0, "reconstruction": 1 - step / 100, "attention": 0.5} for step in range(100)]
    losses += [{"total": 1.0, "reconstruction": 0.0, "attention": 0.5, "prior": 0.2} for _ in range(50)]
    image = loss_curves(losses, 100)
    width, height = curves.PANEL_SIZE
    assert image.size == (width, 4 * height)
    panel = np.asarray(image)[:height].astype(int)
    blue = (panel[..., 2] > 140) & (panel[..., 0] < 90)  # the curve of the first panel
    rows = [np.flatnonzero(blue[curves.TOP :, x]).mean() for x in (100, 300, 500)]
    assert rows == sorted(rows) and rows[2] - rows[0] > 30
    assert loss_curves([{"total": 1.0}], 1).size == (width, height)
    named = loss_curves(losses, 100, {"attention": "focus"})
    assert named.size == image.size and named.tobytes() != image.tobytes()


def test_smooth_is_the_mean_of_the_last_steps():
    values = np.random.default_rng(0).random(40)
    assert np.allclose(smooth(values, 7), [values[max(0, i - 6) : i + 1].mean() for i in range(40)])


def test_overlay_colors_only_the_masks():
    photo = Image.new("RGB", (40, 30), "white")
    mask = np.zeros((30, 40), bool)
    mask[:10, :10] = True
    pixels = np.asarray(overlay(photo, [mask]))
    assert (pixels[~mask] == 255).all() and (pixels[mask] != 255).any(axis=-1).all()


def test_a_contact_sheet_holds_every_image_undistorted():
    colors = ["red", "green", "blue", "black", "orange"]
    images = [Image.new("RGB", (60, 30), color) for color in colors]
    sheet = contact_sheet(images, ["a caption that is far too long for one line"] * 5, columns=3, side=100)
    assert sheet.width == 3 * 110 + 10
    pixels = np.asarray(sheet)
    for color in colors[:3]:
        same = (pixels == np.array(ImageColor.getrgb(color))).all(axis=-1)
        assert 4900 <= same.sum() <= 5000


def test_scatter_points_lie_where_their_values_say():
    points = [
        ScatterPoint("low", "a", (0.2, 0.1, 0.3), (0.2, 0.1, 0.3)),
        ScatterPoint("high", "b", (0.8,) * 3, (0.9,) * 3),
    ]
    axes = np.asarray(scatter(points, "x", "y"))[:, : scatter_plots.AXES_SIZE[0]].astype(int)
    centers = []
    for color in PALETTE[:2]:
        near = np.abs(axes - ImageColor.getrgb(color)).max(-1) < 40
        centers.append([coordinates.mean() for coordinates in np.nonzero(near)])  # y, x
    (low_y, low_x), (high_y, high_x) = centers
    assert low_x < high_x - 200 and low_y > high_y + 200


def test_the_style_sheet_repeats_the_palette():
    css = (Path(studio.__file__).parent / "static" / "studio.css").read_text(encoding="utf-8")
    marks = dict(re.findall(r"\.number-(\d) \{ background: (#\w+)", css))
    assert [marks[str(i)] for i in range(len(PALETTE))] == list(PALETTE)
