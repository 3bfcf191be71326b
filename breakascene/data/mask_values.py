"""From the pixel values of a mask image to bool masks: two-valued and soft masks, label maps, transparency.

Mask files come with the object at 1, 127 or 255, in any color, by transparency, or as one class of a label map such
as those of Pascal VOC. None of this is declared in the file, so it is inferred from the values and their layout.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from breakascene.errors import UserError

MIN_SHARE = 0.0005  # of the image; fewer pixels are noise where something else can be the shape
MAX_CLASSES = 64  # distinct values of a label map
VOID, VOID_COLOR = 255, 0xE0E0C0  # value and palette color of VOC's void class, a border around each object
MAX_CHROMA = 32  # of 255, between the channels of a gray pixel
DARK = 30  # of 255, at most in every channel of a black pixel


def split_classes(image: Image.Image, name: str) -> dict[str, np.ndarray]:
    """Split a mask image into (H, W) bool masks by class; an image of one object gives one mask named "".

    Raises UserError, with `name` for the file, if no reading of the values is clear.
    """
    if not image.has_transparency_data:
        return _split_colors(image, name)
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    shape = _bright_part(alpha, 255)
    carries_shape = shape is not None and MIN_SHARE <= shape.mean() <= 1 - MIN_SHARE
    if carries_shape and not covers_edges(shape):
        return {"": shape}
    opaque = image.convert("RGB")
    try:
        masks = _split_colors(image if image.mode == "P" else opaque, name)
    except UserError:
        if carries_shape:
            return {"": shape}
        raise
    varies = len(masks) > 1 or MIN_SHARE <= next(iter(masks.values())).mean() <= 1 - MIN_SHARE
    if varies:
        return masks
    if carries_shape:
        return {"": shape}
    if shape is None:
        raise _unclear(alpha, name)
    return masks


def describe_classes(masks: Mapping[str, np.ndarray], most: int = 10) -> str:
    """List the classes with the shares of the photo that they cover: "7 (3 %), 15 (12 %)"."""
    listed = [f"{label} ({mask.mean():.0%})".replace("%", " %") for label, mask in masks.items()]
    return ", ".join([*listed[:most], *(["…"] if len(listed) > most else [])])


def covers_edges(mask: np.ndarray) -> bool:
    """Return whether the mask marks more than half of the image and all four edges, as an inverted mask does."""
    return mask.mean() > 0.5 and _edges(mask).mean() > 0.99


def edge_agreement(photo: Image.Image, mask: np.ndarray) -> float:
    """Return how much stronger the photo's gradient is on a mask's outline (H, W) than in the rest; 1 for equal."""
    scale = min(1.0, 512 / max(photo.size))
    size = [max(2, round(side * scale)) for side in photo.size]
    gray = np.asarray(photo.convert("L").resize(size, Image.Resampling.BOX)).astype(np.float32)
    small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    gradient = np.hypot(*np.gradient(gray))
    low, high = _neighborhood(small)
    outline = low != high
    return float(gradient[outline].mean() / (gradient.mean() + 1e-6)) if outline.any() else 0.0


def _split_colors(image: Image.Image, name: str) -> dict[str, np.ndarray]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
        return _split_values(values, name)
    rgb = np.asarray(image.convert("RGB"))  # (H, W, 3)
    if (np.ptp(rgb, axis=-1) > MAX_CHROMA).mean() < MIN_SHARE:
        return _split_values(np.asarray(image.convert("L")), name)
    codes = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)  # (H, W)
    indices = np.asarray(image) if image.mode == "P" else None
    if len(np.unique(codes.ravel()[:: max(1, codes.size // 100_000)])) <= MAX_CLASSES:
        colors, counts = np.unique(codes, return_counts=True)
        if len(colors) <= MAX_CLASSES and all(
            _is_solid(codes == color) for color in colors[counts >= MIN_SHARE * codes.size]
        ):
            labels, hexadecimal = (codes, True) if indices is None else (indices, False)
            void = codes == VOID_COLOR if indices is None else indices == VOID
            background = labels[codes == 0][0] if (codes == 0).any() else _most_common(_edges(labels))
            return _classes(labels, background, void, hexadecimal)
    # Anti-aliased or compressed: the distance from the color of the background.
    black = (rgb <= DARK).all(-1).mean() >= 0.01
    background = np.zeros(3) if black else np.median(_edges(rgb), axis=0)
    distance = np.abs(rgb - background).max(-1).round().astype(np.uint8)
    mask = _bright_part(distance, 255)
    if mask is None:
        raise _unclear(distance, name)
    inside = rgb[mask & (distance >= 0.8 * np.median(distance[mask]))].astype(np.float32)
    if len(inside) and (np.abs(inside - np.median(inside, axis=0)).max(-1) > 80).mean() > 0.02:
        raise _unclear(distance, name)
    return {"": mask}


def _split_values(values: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Split a single channel, (H, W) of any number type."""
    distinct, counts = _unique(values)
    if len(distinct) == 1:
        return {"": values > 0}
    if len(distinct) == 2:
        return {"": values == distinct[1]}
    if len(distinct) <= MAX_CLASSES and _is_label_map(values, distinct):
        background = 0 if distinct[0] == 0 else _most_common(_edges(values))
        others = distinct[(distinct != background) & (distinct != VOID) & (counts >= MIN_SHARE * values.size)]
        # Class numbers are small; among large values 255 is the brightest gray.
        void = values == VOID if len(others) and others.max() <= 150 else np.zeros(values.shape, bool)
        return _classes(values, background, void)
    full = 255 if values.dtype == np.uint8 else next((f for f in (1, 255, 65535) if distinct[-1] <= f), distinct[-1])
    mask = _bright_part(values, full)
    if mask is None:
        raise _unclear(values, name)
    return {"": mask}


def _classes(labels: np.ndarray, background: int, void: np.ndarray, hexadecimal: bool = False) -> dict[str, np.ndarray]:
    """Return the masks of all classes but the background and, if anything else is left, the void class."""
    found = {value: labels == value for value in np.unique(labels) if value != background}
    kept = {value: mask & ~void for value, mask in found.items() if (mask & ~void).any()}
    kept = kept or found
    large = {value: mask for value, mask in kept.items() if mask.mean() >= MIN_SHARE} or kept
    if len(large) <= 1:
        return {"": next(iter(large.values()), np.zeros(labels.shape, bool))}
    return {f"{value:06x}" if hexadecimal else f"{value:g}": mask for value, mask in large.items()}


def _is_label_map(values: np.ndarray, distinct: np.ndarray) -> bool:
    """Return whether values are class numbers, not the gray levels of a soft or compressed outline."""
    if (distinct != distinct.round()).any():
        return False
    low, high = _neighborhood(values)
    between = (values > distinct[0]) & (values < distinct[-1])
    # Levels of an outline lie between darker and brighter neighbors; a class borders on the same value.
    if ((low < values) & (values < high))[between].mean() >= 0.5:
        return False
    groups = np.split(distinct, np.flatnonzero(np.diff(distinct) > 8) + 1)
    if len(groups) != 2 or np.ptp(distinct) <= 64:
        return True
    # Dark and bright with noise, unless the bright part is a thin void border around solid classes.
    dark, bright = groups
    is_void = len(bright) == 1 and bright[0] == VOID and not _is_solid(values == VOID, radius=4)
    return bool(is_void and all(_is_solid(values == value) for value in dark))


def _bright_part(values: np.ndarray, full: float) -> np.ndarray | None:
    """Threshold values, (H, W) in 0..full, if they clearly form a dark and a bright part; else return None."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return values > 0
    histogram, edges = np.histogram(values, bins=256, range=(low, high))
    weights, centers = histogram / values.size, (edges[:-1] + edges[1:]) / 2
    dark = np.cumsum(weights)[:-1]
    sums = np.cumsum(weights * centers)
    mean, variance = sums[-1], (weights * (centers - (weights * centers).sum()) ** 2).sum()
    with np.errstate(divide="ignore", invalid="ignore"):  # Otsu's method
        between = np.nan_to_num((mean * dark - sums[:-1]) ** 2 / (dark * (1 - dark)))
    best = int(between.argmax())
    share = dark[best]
    mean_dark, mean_bright = sums[best] / share, (mean - sums[best]) / (1 - share)
    gap = mean_bright - mean_dark
    middle = weights[(centers > mean_dark + 0.25 * gap) & (centers < mean_bright - 0.25 * gap)].sum()
    if between[best] < 0.85 * variance or middle > 0.75 * min(share, 1 - share):
        return None
    if mean_dark < 0.25 * full and mean_bright > 0.75 * full:
        return values > (127 if full == 255 else full / 2)
    return values > (mean_dark + mean_bright) / 2


def _unclear(values: np.ndarray, name: str) -> UserError:
    middle = (float(values.min()) + float(values.max())) / 2
    return UserError(
        "{mask} does not show one object clearly (its bright part covers {share:.0%} of the photo): mark the object "
        "white on black, or opaque on transparent.",
        mask=name, share=float((values > middle).mean()),
    )  # fmt: skip


def _unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.dtype != np.uint8:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values.ravel(), minlength=256)
    return np.flatnonzero(counts), counts[counts > 0]


def _most_common(values: np.ndarray) -> int:
    distinct, counts = np.unique(values, return_counts=True)
    return distinct[counts.argmax()]


def _edges(array: np.ndarray) -> np.ndarray:
    """Return the pixels of the four edges, (2 W + 2 H[, C])."""
    return np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])


def _neighborhood(values: np.ndarray, radius: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the minimum and maximum of (H, W) values in the square around each pixel."""
    low = high = values
    for axis in (0, 1):
        widths = [(radius, radius) if axis == other else (0, 0) for other in (0, 1)]
        lows, highs = np.pad(low, widths, mode="edge"), np.pad(high, widths, mode="edge")
        shifts = [np.arange(values.shape[axis]) + offset for offset in range(2 * radius + 1)]
        low = np.minimum.reduce([lows.take(shift, axis=axis) for shift in shifts])
        high = np.maximum.reduce([highs.take(shift, axis=axis) for shift in shifts])
    return low, high


def _is_solid(region: np.ndarray, radius: int = 1) -> bool:
    """Return whether at least a tenth of a region, (H, W) bool, is further than `radius` from its outline."""
    inner, _ = _neighborhood(region, radius)
    return inner.sum() >= 0.1 * region.sum()
