"""Mask files of all kinds: each is read as the right shape or refused with a clear error."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from breakascene.data.image_io import read_mask, read_masks, read_photo
from breakascene.data.scene import load_scene, read_scene
from breakascene.errors import UserError

SIZE = (90, 60)
YS, XS = np.mgrid[:60, :90]
DISC = (YS - 28) ** 2 + (XS - 30) ** 2 < 17**2
SQUARE = (abs(YS - 30) < 12) & (abs(XS - 68) < 13)
BITS = DISC.astype(np.uint8)


def colored(color, ground=(0, 0, 0)):
    return np.where(DISC[..., None], np.uint8(color), np.uint8(ground))


def rgba(color, alpha):
    return np.dstack([np.broadcast_to(color, (60, 90, 3)) if np.ndim(color) < 3 else color, alpha]).astype(np.uint8)


def voc_palette():
    """The 256 colors of Pascal VOC."""
    colors = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                colors[index, channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return colors


def voc(classes, palette=True):
    """A label map as VOC stores it: each class with a void border of five pixels, value 255."""
    labels = np.zeros((60, 90), np.uint8)
    for mask in classes.values():
        labels[np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(5))) > 0] = 255
    for value, mask in classes.items():
        labels[np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MinFilter(5))) > 0] = value
    image = Image.fromarray(labels)
    if palette:
        image = Image.frombytes("P", image.size, labels.tobytes())
        image.putpalette(voc_palette().tobytes())
    return image, labels


ONE_ODD_PIXEL = np.full((60, 90), 255)
ONE_ODD_PIXEL[50, 80] = 254
PLAIN = {
    "values 0 and 1": BITS,
    "values 0 and 2": BITS * 2,
    "16-bit 0 and 255": BITS.astype(np.uint16) * 255,
    "16-bit 0 and 1": BITS.astype(np.uint16),
    "16-bit 0 and 4095": BITS.astype(np.uint16) * 4095,
    "float 0 and 1": BITS.astype(np.float32),
    "float 0 and 255": BITS.astype(np.float32) * 255,
    "int 0 and 1": BITS.astype(np.int32),
    "int 0 and 255": BITS.astype(np.int32) * 255,
    "gray 127": BITS * 127,
    "two grays": np.where(DISC, 140, 90).astype(np.uint8),
    "red on black": colored((255, 0, 0)),
    "blue on black": colored((0, 0, 255)),
    "dark blue on black": colored((0, 0, 90)),
    "green on white": colored((20, 200, 40), (255, 255, 255)),
    "alpha 120": rgba((255, 255, 255), BITS * 120),
    "alpha 1": rgba((0, 0, 0), BITS),
    "photo cut out by alpha": rgba(np.random.default_rng(0).integers(0, 255, (60, 90, 3)), BITS * 255),
    "white on black with one odd alpha pixel": rgba(colored((255, 255, 255)), ONE_ODD_PIXEL),
    "one class and an odd pixel": np.where(ONE_ODD_PIXEL == 254, 255, BITS * 128).astype(np.uint8),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_clearly_marked_object_is_read_with_any_values(tmp_path, kind):
    suffix = "tif" if PLAIN[kind].dtype in (np.float32, np.int32) else "png"
    Image.fromarray(PLAIN[kind]).save(tmp_path / f"mask.{suffix}")
    assert np.array_equal(read_mask(tmp_path / f"mask.{suffix}", SIZE), DISC)


def test_soft_and_compressed_outlines_are_cut_at_half(tmp_path):
    sharp = Image.fromarray(BITS * 255)
    for radius in (0.7, 1.5, 3):
        soft = sharp.filter(ImageFilter.GaussianBlur(radius))
        assert np.array_equal(read_mask(soft, SIZE), np.asarray(soft) > 127)
        dim = Image.fromarray((np.asarray(soft) * 0.3).astype(np.uint8))
        assert (read_mask(dim, SIZE) != DISC).mean() < 0.01
    for quality in (30, 60, 90):
        for color in ((255, 255, 255), (255, 0, 0), (0, 0, 255)):
            stream = io.BytesIO()
            Image.fromarray(colored(color)).save(stream, "jpeg", quality=quality)
            assert (read_mask(Image.open(stream), SIZE) != DISC).mean() < 0.02, (quality, color)


@pytest.mark.parametrize("palette", [True, False])
@pytest.mark.parametrize("value", [1, 15, 20])
def test_the_void_border_of_voc_is_no_object(tmp_path, palette, value):
    image, labels = voc({value: DISC}, palette)
    image.save(tmp_path / "voc.png")
    assert np.array_equal(read_mask(tmp_path / "voc.png", SIZE), labels == value)


@pytest.mark.parametrize("palette", [True, False])
@pytest.mark.parametrize("values", [(1, 2), (7, 15), (1, 20)])
def test_classes_of_a_label_map_are_separate_masks(tmp_path, palette, values):
    image, labels = voc(dict(zip(values, (DISC, SQUARE), strict=True)), palette)
    image.save(tmp_path / "voc.png")
    masks = read_masks(tmp_path / "voc.png", SIZE)
    assert list(masks) == [str(value) for value in values]
    assert all(np.array_equal(masks[str(value)], labels == value) for value in values)
    with pytest.raises(UserError, match=rf"2 classes \({values[0]} \(\d+ %\), .*for example voc.png#{values[0]}"):
        read_mask(tmp_path / "voc.png", SIZE)
    assert np.array_equal(read_mask(f"{tmp_path}/voc.png#{values[1]}", SIZE), labels == values[1])
    with pytest.raises(UserError, match="no class 9: choose from"):
        read_mask(tmp_path / "voc.png#9", SIZE)


def test_colors_of_a_label_map_are_separate_masks():
    image = np.where(SQUARE[..., None], np.uint8((0, 200, 0)), colored((255, 0, 0)))
    masks = read_masks(Image.fromarray(image), SIZE)
    assert np.array_equal(masks["ff0000"], DISC) and np.array_equal(masks["00c800"], SQUARE) and len(masks) == 2
    soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(1))
    with pytest.raises(UserError, match="does not show one object clearly"):
        read_mask(soft, SIZE)


def test_a_label_map_of_another_size_is_resized():
    image, labels = voc({1: DISC, 2: SQUARE})
    masks = read_masks(image, (180, 120))
    assert np.array_equal(masks["2"], (labels == 2).repeat(2, 0).repeat(2, 1))


def test_images_that_are_no_masks_are_refused_with_the_share_they_cover():
    random = np.random.default_rng(0)
    photo = random.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    ramp = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (60, 1))
    for image in (photo, photo[..., 0], ramp, rgba((255, 255, 255), ramp)):
        with pytest.raises(UserError, match=r"does not show one object clearly \(its bright part covers \d+%"):
            read_mask(Image.fromarray(image), SIZE)


def test_an_inverted_mask_is_detected(tmp_path):
    inverted = Image.fromarray(255 - BITS * 255)
    with pytest.raises(UserError, match="marks 84% of the photo with all its edges"):
        read_mask(inverted, SIZE)
    assert np.array_equal(read_mask(inverted, SIZE, allow_inverted=True), ~DISC)
    Image.new("RGB", SIZE).save(tmp_path / "img.png")
    inverted.save(tmp_path / "mask0.png")
    assert np.array_equal(load_scene(tmp_path).concepts[0].mask, ~DISC)  # a saved scene may have such a mask
    with pytest.raises(UserError, match="inverted"):
        read_scene(tmp_path / "img.png", [(tmp_path / "mask0.png", "disc")])


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("square", [False, True])
def test_a_mask_of_the_photo_before_its_exif_rotation_is_detected(tmp_path, orientation, square):
    mask = DISC[:, :60] if square else DISC
    mask = np.roll(mask, (-9, -3), axis=(0, 1))
    stored = np.where(mask[..., None], np.uint8((210, 180, 60)), np.uint8((40, 80, 110)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    photo = read_photo(tmp_path / "photo.png")
    unrotated = Image.fromarray(mask.astype(np.uint8) * 255)
    upright = np.asarray(photo)[..., 0] > 100
    assert np.array_equal(read_mask(Image.fromarray(upright), photo.size, photo), upright)
    unrotated.save(tmp_path / "mask.png", exif=exif)
    assert np.array_equal(read_mask(tmp_path / "mask.png", photo.size, photo), upright)
    if orientation >= 5 and not square or np.array_equal(upright, mask):
        assert np.array_equal(read_mask(unrotated, photo.size, photo), upright)
    else:
        with pytest.raises(UserError, match="before its EXIF rotation"):
            read_mask(unrotated, photo.size, photo)
