"""Photos as cameras and phones write them: ICC profiles, bit depths, formats, sizes and special files."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from helpers.files import save_blank_png
from PIL import Image, ImageCms

from breakascene.data import image_io
from breakascene.data.image_io import read_mask, read_photo, scaled_clicks
from breakascene.errors import UserError


def patches(colors, side=24):
    """An image of flat vertical stripes."""
    return Image.fromarray(np.repeat(np.array(colors, np.uint8)[None], side, 0).repeat(side, 1))


def save_png16(path, values, color_type):
    """Write (H, W, C) integers as a 16-bit PNG, which Pillow writes for gray only."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


# --- color profiles


def matrix_profile(primaries, gamma):
    """A minimal ICC v2 profile: the chromaticities of red, green and blue, white D50, one gamma."""
    white = np.array([0.9642, 1.0, 0.8249])
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    xyz = xyz * np.linalg.solve(xyz, white)  # columns: red, green, blue

    def fixed(values):
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(white)}
    for name, column in zip((b"r", b"g", b"b"), xyz.T, strict=True):
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(column)
        tags[name + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78 + b"\0"
    tags[b"cprt"] = b"text\0\0\0\0none"
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I", 128 + len(table) + len(body)) + b"\0" * 4 + b"\x02\x10\0\0" + b"mntrRGB XYZ "
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + fixed(white) + b"\0" * 48
    return header + table + body


# D50-adapted primaries, computed from those of Display P3 and of sRGB by the Bradford transform
WIDE = [(0.7347, 0.2653), (0.2, 0.75), (0.13, 0.04)]


def test_a_wide_gamut_profile_is_converted_to_srgb(tmp_path):
    colors = [(200, 60, 50), (60, 160, 70), (50, 70, 190), (128, 128, 128)]
    icc = matrix_profile(WIDE, 2.2)
    for suffix, options in {"png": {}, "jpg": {"quality": 100, "subsampling": 0}}.items():
        patches(colors).save(tmp_path / f"wide.{suffix}", icc_profile=icc, **options)
        photo = read_photo(tmp_path / f"wide.{suffix}")
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), "RGB", "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
        expected = np.asarray(ImageCms.applyTransform(patches(colors), transform)).astype(int)
        assert abs(np.asarray(photo) - expected).max() <= 4
        saturation = np.ptp(np.asarray(photo)[12, 12]) - np.ptp(colors[0])
        assert saturation > 20  # the same values in a wider space are more saturated in sRGB
        assert "icc_profile" not in photo.info  # so that a saved scene is not converted twice


def test_an_srgb_profile_leaves_the_pixels_unchanged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise).save(tmp_path / "plain.png", icc_profile=icc)
    assert np.array_equal(np.asarray(read_photo(tmp_path / "plain.png")), noise)


def test_lab_is_converted(tmp_path):
    pixels = np.full((20, 20, 3), (255, 0, 0), np.uint8)  # L* = 100, a* = b* = 0, signed
    Image.frombytes("LAB", (20, 20), pixels.tobytes()).save(tmp_path / "lab.tif")
    assert min(read_photo(tmp_path / "lab.tif").getpixel((3, 3))) >= 250


def test_a_damaged_profile_is_ignored(tmp_path):
    for icc in (b"no profile", matrix_profile(WIDE, 2.2)[:200]):
        patches([(200, 60, 50)]).save(tmp_path / "odd.png", icc_profile=icc)
        assert read_photo(tmp_path / "odd.png").getpixel((3, 3)) == (200, 60, 50)


# --- bit depths


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("color_type", [0, 2, 6])
def test_a_16_bit_png_is_scaled_by_the_range_of_its_values(tmp_path, bits, color_type):
    full = 2**bits - 1
    values = np.tile(np.linspace(0, full, 64).round()[:, None], (32, 1, {0: 1, 2: 3, 6: 4}[color_type])).astype(int)
    values[..., 3:] = 65535
    photo = np.asarray(read_photo(save_png16(tmp_path / "deep.png", values, color_type)))
    np.testing.assert_allclose(photo[0, :, 1], np.linspace(0, 255, 64), atol=1.5)


# --- formats


def test_heic_and_avif_are_read(tmp_path):
    image = patches([(200, 60, 50), (60, 160, 70)])
    for suffix in ("heic", "avif"):
        image.save(tmp_path / f"photo.{suffix}", quality=95)
        photo = read_photo(tmp_path / f"photo.{suffix}")
        assert photo.size == image.size and abs(np.asarray(photo)[:, 4].astype(int) - (200, 60, 50)).max() < 12
        whole = (tmp_path / f"photo.{suffix}").read_bytes()
        for share in (0.05, 0.5, 0.95):
            (tmp_path / f"cut.{suffix}").write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(UserError, match="cut"):
                read_photo(tmp_path / f"cut.{suffix}")


def test_formats_outside_the_list_are_refused_under_any_file_name(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.jpg").write_bytes(eps)
    patches([(1, 2, 3)]).save(tmp_path / "photo.tga")
    for name in ("photo.jpg", "photo.tga"):
        with pytest.raises(UserError, match="not a readable image"):
            read_photo(tmp_path / name)


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(UserError, match="not a regular file"):
            read_photo(path)
        with pytest.raises(UserError, match="not a regular file"):
            read_mask(path, (60, 40))


# --- sizes


@pytest.fixture
def small_limits(monkeypatch):
    """Limits of one ten-thousandth, so that the test files are small."""
    monkeypatch.setattr(image_io, "MAX_PIXELS", 4000)
    monkeypatch.setattr(image_io, "MAX_DECODED_PIXELS", 10_000)
    monkeypatch.setattr(image_io, "MAX_JPEG_PIXELS", 22_000)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_large_photo_is_reduced(tmp_path, small_limits, suffix):
    image = patches([(200, 60, 50), (60, 160, 70), (50, 70, 190), (90, 90, 90)]).resize((96, 72), 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / f"large.{suffix}", quality=95, exif=exif)
    photo = read_photo(tmp_path / f"large.{suffix}")
    assert photo.size == (36, 48) and photo.info["full_size"] == (72, 96)
    expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270).reduce(2)).astype(int)
    assert abs(np.asarray(photo) - expected).mean() < 6
    assert scaled_clicks(photo, [(70, 94)], (0, 2, 4, 6)) == ([(35, 47)], (0, 1, 2, 3))
    mask = np.zeros((96, 72), np.uint8)
    mask[20:40, 10:30] = 255
    assert np.array_equal(read_mask(Image.fromarray(mask), photo.size, photo), mask[::2, ::2] > 0)


def test_bombs_are_refused(tmp_path, small_limits):
    Image.new("RGB", (200, 100)).save(tmp_path / "ok.jpg")
    assert read_photo(tmp_path / "ok.jpg").size == (50, 25)
    Image.new("RGB", (250, 100)).save(tmp_path / "bomb.jpg")
    for path in (tmp_path / "bomb.jpg", save_blank_png(tmp_path / "bomb.png", 200, 100)):
        with pytest.raises(UserError, match="megapixels"):
            read_photo(path)


def test_a_48_megapixel_photo_is_read(tmp_path):
    Image.new("RGB", (8064, 6048), (90, 120, 60)).save(tmp_path / "phone.jpg")
    photo = read_photo(tmp_path / "phone.jpg")
    assert photo.size == (4032, 3024) and abs(np.array(photo.getpixel((9, 9))) - (90, 120, 60)).max() <= 2
