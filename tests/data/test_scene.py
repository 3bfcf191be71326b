"""Reading photos and masks of every kind, and the square crop with its mapping back to the photo."""

import io

import numpy as np
import pytest
from helpers.files import save_blank_png
from PIL import Image

from breakascene.data.image_io import read_mask, read_photo
from breakascene.data.scene import cutout, innermost_on_top, load_scene, make_scene, read_scene, save_scene
from breakascene.errors import UserError

RED, GREEN, BLUE = (200, 30, 20), (20, 180, 40), (10, 60, 210)


def corners(width=60, height=40):
    """An image with one orientation only: red top left, green top right, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :] = BLUE
    return Image.fromarray(pixels)


def blob(width, height, box):
    mask = np.zeros((height, width), bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


def near(pixel, color, by=12):
    return max(abs(int(a) - b) for a, b in zip(pixel, color, strict=True)) <= by


# --- photos


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1"])
def test_every_mode_reads_as_rgb(tmp_path, mode):
    image = corners()
    suffix = "tif" if mode == "CMYK" else "png"
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    image.save(tmp_path / f"photo.{suffix}")
    photo = read_photo(tmp_path / f"photo.{suffix}")
    assert photo.mode == "RGB" and photo.size == (60, 40)
    if mode in ("RGB", "RGBA", "P", "CMYK"):
        assert near(photo.getpixel((5, 5)), RED) and near(photo.getpixel((55, 5)), GREEN)
    else:
        gray = photo.getpixel((5, 5))
        assert gray[0] == gray[1] == gray[2]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_keeps_its_brightness(tmp_path, suffix):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    Image.fromarray(ramp).save(tmp_path / f"deep.{suffix}")
    photo = np.asarray(read_photo(tmp_path / f"deep.{suffix}"))
    np.testing.assert_allclose(photo[0, :, 0], np.linspace(0, 255, 64), atol=1)


def test_a_float_image_from_zero_to_one_is_not_black(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "float.tif")
    assert np.asarray(read_photo(tmp_path / "float.tif")).max() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotates_photo_and_mask_upright(tmp_path, orientation):
    upright = corners()
    # The stored image is the upright one rotated back; reading must return the upright one for all eight values.
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # Image.Transpose values that undo each orientation
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(Image.Transpose(step))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(np.asarray(read_photo(tmp_path / "photo.png")), np.asarray(upright))
    stored.convert("L").point(lambda v: 255 if v > 75 else 0).save(tmp_path / "mask.png", exif=exif)
    expected = np.asarray(upright.convert("L")) > 75
    assert np.array_equal(read_mask(tmp_path / "mask.png", (60, 40)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_transparent_parts_become_white(tmp_path, mode):
    image = corners().convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 30, 40))
    image.putalpha(alpha)
    if mode == "P":
        image = image.quantize(32)
    image.convert(mode).save(tmp_path / "clear.png")
    photo = read_photo(tmp_path / "clear.png")
    assert photo.getpixel((5, 5)) == (255, 255, 255) and photo.getpixel((55, 35)) != (255, 255, 255)


def test_an_image_in_memory_is_left_unchanged():
    image = corners().convert("RGBA")
    before = image.tobytes()
    assert read_photo(image).mode == "RGB"
    assert image.mode == "RGBA" and image.tobytes() == before


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp"])
def test_truncated_files_are_refused(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    stream = io.BytesIO()
    format = "jpeg" if kind == "progressive" else kind
    Image.fromarray(noise).save(stream, format, **({"progressive": True} if kind == "progressive" else {}))
    whole = stream.getvalue()
    path = tmp_path / f"photo.{format}"
    path.write_bytes(whole)
    assert read_photo(path).size == (128, 96)
    for share in (0.03, 0.2, 0.5, 0.8, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match="photo"):
            read_photo(path)


def test_limits_are_checked_on_the_header(tmp_path):
    for name, size in {"bomb": (20_000, 20_000), "big": (12_500, 8001)}.items():
        with pytest.raises(UserError, match="more than 100 megapixels"):
            read_photo(save_blank_png(tmp_path / f"{name}.png", *size))
    assert read_photo(save_blank_png(tmp_path / "small.png", 24, 16)).size == (24, 16)
    with pytest.raises(UserError, match="at least 16 × 16"):
        read_photo(Image.new("RGB", (15, 40)))
    with pytest.raises(UserError, match="too long and narrow"):
        read_photo(Image.new("RGB", (16, 400)))


def test_missing_files_folders_and_text_have_different_messages(tmp_path):
    (tmp_path / "note.jpg").write_text("not an image")
    for name, message in {"none.jpg": "no file", "": "folder", "note.jpg": "not a readable image"}.items():
        with pytest.raises(UserError, match=message):
            read_photo(tmp_path / name)


# --- masks


def test_alpha_counts_only_where_it_varies(tmp_path):
    shape = blob(60, 40, (10, 5, 30, 25))
    white, clear = np.full((40, 60), 255, np.uint8), shape.astype(np.uint8) * 255
    for color, alpha in ((white, clear), (clear, white)):
        Image.fromarray(np.dstack([color, color, color, alpha])).save(tmp_path / "mask.png")
        assert np.array_equal(read_mask(tmp_path / "mask.png", (60, 40)), shape)


def test_palette_sixteen_bit_and_one_bit_masks(tmp_path):
    shape = blob(60, 40, (10, 5, 30, 25))
    gray = Image.fromarray(shape.astype(np.uint8) * 255)
    for mode in ("1", "P", "RGB"):
        gray.convert(mode).save(tmp_path / "mask.png")
        assert np.array_equal(read_mask(tmp_path / "mask.png", (60, 40)), shape)
    Image.fromarray(shape.astype(np.uint16) * 65535).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", (60, 40)), shape)


def test_a_mask_of_the_same_aspect_ratio_is_resized_and_another_refused():
    half = Image.fromarray(blob(30, 20, (5, 5, 15, 15)).astype(np.uint8) * 255)
    assert np.array_equal(read_mask(half, (60, 40)), blob(60, 40, (10, 10, 30, 30)))
    with pytest.raises(UserError, match="30 × 20 pixels but the photo is 60 × 60"):
        read_mask(half, (60, 60))


# --- scenes


def test_handles_names_and_background():
    first, second = blob(60, 40, (5, 5, 20, 20)), blob(60, 40, (30, 10, 50, 30))
    scene = make_scene(corners(), [first, second], ["  blue \n mug"], background=True)
    assert scene.handles == ("<asset0>", "<asset1>", "<background>")
    assert scene.names == ("blue mug", "object", "background")
    masks = scene.masks()
    assert masks.shape == (3, 40, 60) and np.array_equal(masks[2], ~(first | second))
    assert (masks.sum(axis=0) == 1).all()
    assert make_scene(corners(), [first]).handles == ("<asset0>",)


def test_check_names_the_faulty_mask():
    good, other = blob(60, 40, (5, 5, 20, 20)), blob(60, 40, (30, 10, 50, 30))
    wrong = {
        "no mask": ([], False),
        "<asset1> .* is empty": ([good, blob(60, 40, (0, 0, 0, 0))], False),
        "<asset0> .* and <asset2> .* the same": ([good, other, good], False),
        "less than 0.05 %": ([blob(60, 40, (3, 3, 4, 4))], False),
        "60 × 30 pixels but the photo 60 × 40": ([blob(60, 30, (0, 0, 9, 9))], False),
        "17 masks": ([blob(60, 40, (i, 0, i + 5, 9)) for i in range(17)], False),
        "leave no background": ([blob(60, 40, (0, 0, 60, 40))], True),
    }
    for message, (masks, background) in wrong.items():
        with pytest.raises(UserError, match=message):
            make_scene(corners(), masks, background=background)
    with pytest.raises(UserError, match="without < and >"):
        make_scene(corners(), [good], ["<asset3>"])


def test_scene_saves_and_reads_back_the_same(tmp_path):
    masks = [blob(60, 40, (5, 5, 20, 20)), blob(60, 40, (30, 10, 50, 30))]
    for background in (False, True):
        scene = make_scene(corners(), masks, ["mug", "Häschen"], background)
        save_scene(scene, tmp_path / "scene")  # the second time over the first
        again = load_scene(tmp_path / "scene")
        assert again.handles == scene.handles and again.names == scene.names
        assert np.array_equal(again.masks(), scene.masks())
        assert again.photo.tobytes() == scene.photo.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]


def test_folder_without_names_and_with_too_many(tmp_path):
    corners().save(tmp_path / "img.jpg")
    for i in (0, 1, 10):
        Image.fromarray(blob(60, 40, (i, 5, 20 + i, 20)).astype(np.uint8) * 255).save(tmp_path / f"mask{i}.png")
    scene = load_scene(tmp_path)
    assert scene.names == ("object",) * 3
    assert np.flatnonzero(scene.masks()[2].any(axis=0))[0] == 10  # mask10 comes after mask1 by number
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(UserError, match="4 names for 3 masks"):
        load_scene(tmp_path)
    with pytest.raises(UserError, match="not a scene folder"):
        load_scene(tmp_path / "missing")


def test_read_scene_from_files_and_cutout(tmp_path):
    corners().save(tmp_path / "p.png")
    Image.fromarray(blob(60, 40, (2, 3, 22, 13)).astype(np.uint8) * 255).save(tmp_path / "m.png")
    scene = read_scene(tmp_path / "p.png", [(tmp_path / "m.png", "flag")])
    piece = cutout(scene, 0)
    assert scene.names == ("flag",) and piece.mode == "RGBA" and piece.size == (20, 10)
    assert piece.getpixel((0, 0)) == (*RED, 255)


# --- the square crop


SIZES = [(128, 128), (512, 384), (384, 512), (97, 61), (61, 97), (1000, 180), (640, 630), (16, 300), (333, 1111)]


@pytest.mark.parametrize("photo_size", SIZES)
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("background", [False, True])
def test_square_crop_is_undistorted_and_maps_back(photo_size, size, background):
    width, height = photo_size
    random = np.random.default_rng(width * height + size)
    for _ in range(4):
        x0, y0 = random.integers(0, width * 0.6), random.integers(0, height * 0.6)
        x1 = random.integers(x0 + max(4, width // 8), width + 1)
        y1 = random.integers(y0 + max(4, height // 8), height + 1)
        mask = blob(width, height, (x0, y0, x1, y1))
        ys, xs = np.mgrid[:height, :width]
        ramp = np.dstack([xs * 255 / width, ys * 255 / height, mask * 255]).astype(np.uint8)
        scene = make_scene(Image.fromarray(ramp), [mask], background=background and not mask.all())
        square = scene.square_crop(size)
        sx, sy, side = square.box

        assert square.pixels.shape == (size, size, 3) and square.masks.shape == (len(scene.handles), size, size)
        assert min(width, height, size) <= side <= max(width, height)
        assert sx <= x0 and sy <= y0 and x1 <= sx + side and y1 <= sy + side  # all of the object is in it
        if side <= min(width, height):
            assert square.valid.all() and sx >= 0 and sy >= 0 and sx + side <= width and sy + side <= height
        assert not (square.masks & ~square.valid).any()
        if scene.background:
            assert (square.masks.sum(axis=0)[square.valid] == 1).all()

        # Undistorted: the object's edges in the square lie where one common scale puts them, to a pixel.
        scale = size / side
        found = np.flatnonzero(square.masks[0].any(axis=0)), np.flatnonzero(square.masks[0].any(axis=1))
        for edges, start, low, high in ((found[0], sx, x0, x1), (found[1], sy, y0, y1)):
            assert abs(edges[0] - (low - start) * scale) <= 1 and abs(edges[-1] + 1 - (high - start) * scale) <= 1

        # Mapped back, the mask agrees to within a pixel of the coarser grid, and the ramps keep their values.
        back = square.to_photo(square.masks[0])
        assert back.shape == mask.shape and back.dtype == bool
        slack = int(np.ceil(max(1, side / size))) + 1
        assert not back[:, : max(0, x0 - slack)].any() and not back[:, x1 + slack :].any()
        assert not back[: max(0, y0 - slack)].any() and not back[y1 + slack :].any()
        inner = back[y0 + slack : y1 - slack, x0 + slack : x1 - slack]
        assert inner.all()
        restored = square.to_photo(square.pixels)
        near_edge = 4 * slack
        inside = np.zeros_like(mask)
        inside[max(0, sy) + near_edge : sy + side - near_edge, max(0, sx) + near_edge : sx + side - near_edge] = True
        wrong = np.abs(restored[..., :2].astype(int) - ramp[..., :2])[inside]
        assert wrong.max(initial=0) <= 3 + 255 * 2 * slack / min(width, height)
        assert wrong.mean() <= 3 if wrong.size else True


def test_square_crop_maps_back_bit_for_bit_when_nothing_is_resized():
    random = np.random.default_rng(3)
    photo = Image.fromarray(random.integers(0, 255, (100, 200, 3), dtype=np.uint8))
    scene = make_scene(photo, [blob(200, 100, (150, 20, 190, 60))])
    square = scene.square_crop(64)
    x0, y0, side = square.box
    assert side == 64
    floats = random.random((64, 64), dtype=np.float32), random.random((64, 64, 2))
    for values in (square.pixels, square.masks[0], *floats):
        back = square.to_photo(values)
        assert back.dtype == values.dtype and np.array_equal(back[y0 : y0 + 64, x0 : x0 + 64], values)
        back[y0 : y0 + 64, x0 : x0 + 64] = 0
        assert not back.any()


def test_square_crop_is_tight_around_the_objects_but_whole_with_background():
    photo = Image.new("RGB", (1000, 600))
    mask = blob(1000, 600, (800, 100, 1000, 300))
    assert make_scene(photo, [mask]).square_crop(128).box == (760, 80, 240)
    assert make_scene(photo, [mask], background=True).square_crop(128).box == (400, 0, 600)
    # No upsampling where the photo has enough pixels
    assert make_scene(photo, [mask]).square_crop(512).box == (488, 0, 512)
    wide = make_scene(photo, [blob(1000, 600, (0, 200, 900, 400))]).square_crop(128)
    assert wide.box == (0, -200, 1000) and not wide.valid[:20].any() and wide.valid[64].all()


def test_padding_repeats_the_edge():
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:20], pixels[20:] = RED, BLUE
    scene = make_scene(Image.fromarray(pixels), [blob(120, 40, (0, 10, 120, 30))])
    square = scene.square_crop(120)
    assert near(square.pixels[0, 60], RED) and near(square.pixels[-1, 60], BLUE)


def test_a_thin_object_does_not_vanish_in_the_square_crop():
    scene = make_scene(Image.new("RGB", (2000, 2000)), [blob(2000, 2000, (100, 1000, 1900, 1003))])
    assert scene.square_crop(64).masks[0].any()


def test_overlaps_belong_to_the_innermost_object():
    y, x = np.mgrid[:40, :40]
    shirt, logo, button = abs(x - 20) < 15, (abs(x - 20) < 8) & (abs(y - 20) < 8), (abs(x - 20) < 2) & (abs(y - 20) < 2)
    shirt = shirt & (abs(y - 20) < 15)
    scene = make_scene(Image.new("RGB", (40, 40)), [logo, shirt, button], ["logo", "shirt", "button"], background=True)
    separate = innermost_on_top(scene)
    masks = separate.masks()
    assert (masks.sum(0) == 1).all() and (masks[2] == button).all()
    assert (masks[0] == (logo & ~button)).all() and (masks[1] == (shirt & ~logo)).all()
    assert (masks[3] == scene.masks()[3]).all() and separate.names == scene.names
    left, right = shirt & (x < 20), shirt & (x >= 20)
    with pytest.raises(UserError, match="The smaller objects cover <asset0> .shirt. entirely"):
        innermost_on_top(make_scene(scene.photo, [shirt, left, right], ["shirt", "left", "right"]))
