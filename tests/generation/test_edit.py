"""Local editing by Blended Latent Diffusion, on small models of the real architectures."""

import json

import numpy as np
import pytest
import torch
from helpers.models import assert_same_base, weights_of
from PIL import Image

from breakascene.data.consent import Consent, declare_consent
from breakascene.data.scene import photo_hash
from breakascene.errors import UserError
from breakascene.generation.edit import edit
from breakascene.generation.generate import read_metadata, save_image
from breakascene.generation.region import box_region, crop_around
from breakascene.provenance.audit_check import entries
from breakascene.provenance.credentials import verify
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

OPTIONS = {"seed": 2, "num_inference_steps": 4}


@pytest.fixture(scope="module")
def concepts(tiny_base, scene):
    return run_extraction(scene, tiny_base, preset("light", tiny_base, steps=(1, 1), prior_loss_weight=0.0))


def photo(width=300, height=200) -> Image.Image:
    """A photo with gradients and fine noise, in which every changed pixel shows."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 180 // width, y * 180 // height, (x + y) * 180 // (width + height)], -1)
    noise = np.random.default_rng(0).integers(0, 60, pixels.shape)
    return Image.fromarray((pixels + noise).astype(np.uint8))


def disc(size, x, y, radius) -> np.ndarray:
    rows, columns = np.mgrid[: size[1], : size[0]]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def assert_only_region_changed(before: Image.Image, after: Image.Image, region: np.ndarray) -> None:
    old, new = np.asarray(before), np.asarray(after)
    assert old.shape == new.shape
    assert (old[~region] == new[~region]).all()
    assert (old[region] != new[region]).any(-1).mean() > 0.9


def test_only_the_region_changes_and_the_metadata_say_how(tiny_base, concepts):
    image = photo()
    region, before = disc(image.size, 210, 90, 40), weights_of(tiny_base)
    first, second = edit(tiny_base, concepts, image, region, "a photo of <asset0>", count=2, **OPTIONS)
    assert_same_base(tiny_base, before)
    for one in (first, second):
        assert_only_region_changed(image, one.image, region)
    assert (np.asarray(first.image) != np.asarray(second.image)).any()
    expected = {"prompt": "a photo of <asset0>", "seed": 2, "index": 0, "width": 300, "height": 200, "strength": 1.0}
    assert {key: first.metadata[key] for key in expected} == expected
    assert first.metadata["photo"] == f"{photo_hash(image)}+{concepts.photo}" and second.metadata["index"] == 1
    changed = first.metadata["edit"]
    assert changed["photo"] == photo_hash(image) and changed["before"] == []
    assert changed["region"]["box"] == (171, 51, 250, 130) and changed["region"]["pixels"] == region.sum()
    (again,) = edit(tiny_base, concepts, image, region, "a photo of <asset0>", **{**OPTIONS, "seed": 3})
    assert abs(np.asarray(again.image, int) - np.asarray(second.image, int)).max() <= 1  # up to the batch's rounding


@pytest.mark.parametrize("name", ["sd_base", "sd2_base", "sdxl_base"])
def test_every_family_edits(name, request):
    base = request.getfixturevalue(name)
    image = photo()
    region = box_region(image.size, (20, 30, 100, 110))
    (edited,) = edit(base, None, image, region, "a dog", **OPTIONS)
    assert_only_region_changed(image, edited.image, region)


@pytest.mark.parametrize("name", ["tiny_base", "sd_base"])
def test_the_unet_sees_the_noised_photo_outside_the_region_in_every_step(name, request):
    base = request.getfixturevalue(name)
    image, seen = photo(), []
    region = disc(image.size, 150, 100, 40)
    hook = base.unet.register_forward_pre_hook(lambda _, args: seen.append((args[0][:1].clone(), args[1])))
    try:
        list(edit(base, None, image, region, "a dog", strength=0.5, seed=2, num_inference_steps=8))
    finally:
        hook.remove()
    crop = crop_around(region, base)
    latents, _ = base.encode(crop.pixels(image)[None])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(2))
    scheduler = base.pipeline().scheduler
    scheduler.set_timesteps(8)
    assert [int(timestep) for _, timestep in seen] == scheduler.timesteps[4:].tolist()
    outside = ~crop.latent_mask(1).expand_as(latents)
    assert outside.any() and not outside.all()
    for step, (found, timestep) in enumerate(seen):
        expected = scheduler.add_noise(latents, noise, timestep[None])
        assert torch.allclose(found[outside], expected[outside], atol=1e-4)
        if step:
            assert abs(found - expected)[~outside].mean() > 0.01


def test_a_thin_region_starts_wide_and_shrinks(tiny_base):
    line = box_region((256, 256), (40, 120, 216, 124))
    widths = [int(crop_around(line, tiny_base).latent_mask(p).any(1).sum()) for p in (0, 0.2, 0.4, 0.5, 1)]
    assert widths == sorted(widths, reverse=True) and widths[0] >= 4 and widths[-2:] == [2, 2]
    wide = crop_around(disc((256, 256), 128, 128, 60), tiny_base)
    assert torch.equal(wide.latent_mask(0), wide.latent_mask(1))
    image = photo(256, 256)
    (edited,) = edit(tiny_base, None, image, line, "a dog", **OPTIONS)
    assert_only_region_changed(image, edited.image, line)
    dot = box_region((256, 256), (100, 100, 101, 101))  # smaller than a cell
    assert crop_around(dot, tiny_base).latent_mask(1).sum() == 1


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((20, 24), (4, 4, 12, 14)),
        ((2000, 1500), (1000, 700, 1040, 760)),
        ((2000, 1500), (100, 100, 1900, 1400)),
        ((1000, 90), (20, 10, 900, 80)),
        ((90, 1000), (10, 20, 80, 330)),
        ((300, 200), (0, 0, 300, 200)),
    ],
)
def test_photos_and_regions_of_all_sizes(tiny_base, size, box):
    image, region = photo(*size), box_region(size, box)
    crop = crop_around(region, tiny_base)
    x0, y0, x1, y1 = crop.box
    assert x0 <= box[0] and y0 <= box[1] and x1 >= box[2] and y1 >= box[3]
    assert (x1 - x0) / (y1 - y0) == pytest.approx(crop.size[0] / crop.size[1], rel=0.03)  # undistorted
    assert crop.size[0] * crop.size[1] == pytest.approx(tiny_base.image_size**2, rel=0.3)
    (edited,) = edit(tiny_base, None, image, region, "a dog", seed=1, num_inference_steps=1)
    assert_only_region_changed(image, edited.image, region)


def test_a_region_that_is_enlarged_much_gets_a_note(tiny_base):
    image = photo(2000, 1500)
    with pytest.warns(UserWarning, match=r"128 × 128 pixels, so the region is enlarged 9\.8 times"):
        edit(tiny_base, None, image, box_region(image.size, (100, 100, 1100, 1100)), "a dog", **OPTIONS)


def test_the_seam_is_feathered_inside_the_region_and_its_colors_are_matched(tiny_base):
    smooth = Image.fromarray(np.asarray(photo(256, 256)) // 2 + 40)
    region = disc(smooth.size, 128, 128, 50)
    crop = crop_around(region, tiny_base)
    pixels = crop.pixels(smooth)
    shifted = Image.fromarray(pixels + np.array([20, 10, 0], np.uint8))  # as by an autoencoder that shifts colors
    pasted = np.asarray(crop.paste(smooth, shifted), int)
    exact = np.asarray(crop.paste(smooth, Image.fromarray(pixels)), int)
    inner, rim = disc(smooth.size, 128, 128, 35), region & ~disc(smooth.size, 128, 128, 47)
    assert abs(pasted - exact)[rim].mean() < 3 and abs(pasted - exact)[inner].mean() < 16
    painted = Image.fromarray(np.where(np.arange(128)[:, None, None] > -1, [[[255, 0, 255]]], 0).astype(np.uint8))
    steps = abs(np.asarray(crop.paste(smooth, painted), int) - np.asarray(smooth)).sum(-1)
    assert steps[rim].mean() < 0.5 * steps[inner].mean()


def test_an_edited_photo_can_be_edited_again(tiny_base, concepts, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_AUDIT", str(tmp_path / "audit"))
    image, declared = photo(), declare_consent(True, "Anna", "catalog", "2999-12-31")
    first_region, second_region = disc(image.size, 80, 100, 40), disc(image.size, 220, 100, 40)
    (first,) = edit(tiny_base, concepts, image, first_region, "<asset0>", consent=declared, **OPTIONS)
    path = save_image(first, tmp_path)
    assert verify(path).source == "compositeWithTrainedAlgorithmicMedia"
    assert [entry["action"] for entry in entries(tmp_path / "audit")] == ["edit"]
    (second,) = edit(tiny_base, concepts, path, second_region, "<asset1>", **OPTIONS)
    assert_only_region_changed(first.image, second.image, second_region)
    assert second.metadata["photo"] == first.metadata["photo"]
    assert second.metadata["consents"] == [declared.to_json()]
    (before,) = second.metadata["edit"]["before"]
    assert before["prompt"] == "<asset0>" and before["region"]["pixels"] == first_region.sum()
    assert read_metadata(save_image(second, tmp_path)) == json.loads(json.dumps(second.metadata))


def test_photos_that_must_not_be_used_are_refused(tiny_base, concepts, tmp_path):
    image, expired = photo(), Consent(True, "Anna", "catalog", "2020-01-01")
    region = disc(image.size, 80, 100, 40)
    with pytest.raises(UserError, match="The consent of Anna ended"):
        edit(tiny_base, concepts, image, region, "<asset0>", consent=expired, **OPTIONS)
    (edited,) = edit(tiny_base, concepts, image, region, "<asset0>", **OPTIONS)
    edited.metadata["consents"] = [expired.to_json()]  # has expired since
    path = save_image(edited, tmp_path)
    with pytest.raises(UserError, match="The consent of Anna ended"):
        edit(tiny_base, concepts, path, region, "<asset0>", **OPTIONS)
    edited.metadata.update(consents="none", edit={"before": 3})  # a file of others: as any photo
    (again,) = edit(tiny_base, concepts, save_image(edited, tmp_path), region, "<asset0>", **OPTIONS)
    assert again.metadata["edit"]["before"] == [] and "consents" not in again.metadata


def test_bad_input_is_refused_by_the_call(tiny_base, concepts):
    image = photo()
    region = disc(image.size, 80, 100, 40)
    for box in ((-1, 0, 20, 20), (0, 0, 301, 20), (400, 10, 500, 20), (0, float("nan"), 20, 20)):
        with pytest.raises(UserError, match="outside the photo, which is 300 × 200 pixels"):
            box_region(image.size, box)
    with pytest.raises(UserError, match="region is empty"):
        box_region(image.size, (20, 20, 20, 90))
    for wrong, message in (
        (np.zeros((200, 300), bool), "region is empty"),
        (np.ones((400, 600), bool), "600 × 400 pixels but the photo 300 × 200"),
        (np.ones((300, 200), bool), "200 × 300 pixels but the photo 300 × 200"),
    ):
        with pytest.raises(UserError, match=message):
            edit(tiny_base, concepts, image, wrong, "a dog")
    with pytest.raises(UserError, match="<asset7>.*<asset0>, <asset1>"):
        edit(tiny_base, concepts, image, region, "a photo of <asset7>")
    with pytest.raises(UserError, match="empty"):
        edit(tiny_base, concepts, image, region, " ")
    for strength in (0, 1.5, float("nan")):
        with pytest.raises(UserError, match="strength"):
            edit(tiny_base, concepts, image, region, "a dog", strength=strength)
