"""Objects in the boxes of a layout: each is drawn alone in a crop around its box, and put into the image.

A model draws a single object well, at the size and the position that it is used to. So the scene is generated first,
without the objects, or a photo takes its place. Then, from back to front, the crop around each box in which the object
has that size is generated with the prompt of this object alone, starting from the scene with the noised cut-out in its
box (SDEdit, arXiv 2108.01073). Of the crop, only the object and its shadow are put into the image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from breakascene.data.scene import cutout, load_scene, photo_hash
from breakascene.errors import UserError
from breakascene.generation.generate import GeneratedImage, generate, image_shapes
from breakascene.generation.layout import Layout, LayoutBox, check_prompt, object_prompt, scene_prompt
from breakascene.generation.region import cut_box
from breakascene.generation.start import Start
from breakascene.generation.variations import check_strength
from breakascene.models.base import Base
from breakascene.models.combined import CombinedConcepts
from breakascene.models.concepts import Concepts
from breakascene.models.lora import ExternalLora
from breakascene.segmentation.segmenter import Segmenter
from breakascene.training.augment import GROUND, SIZES

STRENGTH = 0.35  # the default
SIDE = SIZES[0]  # of a single object, by the side of a crop; it stands at GROUND, as the base learned to draw it
MIN_OVERLAP = 0.4  # IoU of the object that is found with the cut-out; below, the outline of the cut-out is used
MARGIN = 0.08  # around the box in a crop, by its side, within which the object is searched
SHADOW_HEIGHT, SHADOW_BLUR = 1 / 6, 1 / 40  # of the contact shadow, by the object's height and the side of the crop
MAX_SHADOW = 0.6  # share of the light that it takes
MIN_DIFFERENCE = 16  # of 255, between the crop and what was there, from which a pixel is drawn over
POINTS = 5  # on an object, by which the segmenter finds it
MIN_PIXELS = 4  # width and height of a placed object
EDGE = 1 / 256  # width of the soft edge of an object, by the side of the crop


def cutouts_of(runs: Sequence[Path | str], handles: Sequence[str]) -> dict[str, Image.Image]:
    """Return the cut-outs (RGBA) of the objects of run folders by their handles in an image of all these runs."""
    found, handles = {}, iter(handles)
    for run in runs:
        scene = load_scene(Path(run) / "scene")
        for index, handle in zip(range(len(scene.handles)), handles, strict=False):
            if index < len(scene.concepts):
                found[handle] = cutout(scene, index)
    return found


def place(
    base: Base,
    concepts: Concepts | CombinedConcepts,
    layout: Layout,
    cutouts: Mapping[str, Image.Image],
    prompt: str,
    segmenter: Segmenter,
    *,
    photo: Image.Image | None = None,
    count: int = 1,
    seed: int = 0,
    num_inference_steps: int = 20,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    size: tuple[int, int] | None = None,
    strength: float = STRENGTH,
    loras: Sequence[ExternalLora] = (),
    on_preview: Callable[[Image.Image], None] | None = None,
) -> Iterator[GeneratedImage]:
    """Generate images with objects in the boxes of a layout.

    Args:
        base: The base model.
        concepts: The concepts of the handles.
        layout: The layout.
        cutouts: The cut-out (RGBA) of each of its handles, see cutouts_of.
        prompt: The prompt, with exact handles.
        segmenter: Finds the drawn objects.
        photo: A photo that the objects are put into, in place of a generated scene; all other pixels stay as they are.
        count: Images, of the seeds from `seed` on.
        seed: Seed of the first image.
        num_inference_steps: Denoising steps of the scene.
        guidance_scale: See generate.
        negative_prompt: Prompt to steer away from.
        size: Width and height in pixels, unless there is a photo; by default the base's native square.
        strength: Share of the denoising steps in which an object is generated, above 0 to 1: the lower, the more it
            keeps the shape and the colors of its cut-out.
        loras: See generate.
        on_preview: See generate.

    Yields:
        The images, with the metadata of generate and "layout" and "strength".

    Raises:
        UserError: As generate does, for a strength out of range, if the prompt lacks a handle of the layout, and if an
            object would have less than MIN_PIXELS. Raised by the call itself.
    """
    # 1. Check the inputs
    check_strength(strength)
    check_prompt(layout, prompt)
    options = {
        "num_inference_steps": num_inference_steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
        "loras": loras,
        "on_preview": on_preview,
        "batch_size": 1,
    }
    generate(base, concepts, [prompt], count=count, size=None if photo else size, **options)  # only checks them
    _check_pixels(layout, cutouts, photo.size if photo else size or image_shapes(base)["square"])
    text = scene_prompt(layout, prompt)
    scenes = None if photo else generate(base, concepts, [text], count=count, seed=seed, size=size, **options)
    metadata = {"layout": layout.to_json()} | ({"start": photo_hash(photo)} if photo else {})

    # 2. Generate each scene, and the objects in it from back to front
    def images() -> Iterator[GeneratedImage]:
        for index in range(count):
            image = photo or next(scenes).image
            for one in layout.boxes:
                crop = ObjectCrop.around(one, cutouts[one.handle], image.size, base.image_size)
                start = Start(base.encode(crop.start(image)[None])[0], strength, metadata=metadata)
                text = object_prompt(layout, one.handle, prompt)
                drawn = next(generate(base, concepts, [text], seed=seed + index, start=start, **options))
                image = crop.put(image, drawn.image, segmenter)
            values = {"prompt": prompt, "seed": seed, "index": index, "width": image.width, "height": image.height}
            yield GeneratedImage(image, drawn.metadata | values)

    return images()


def _check_pixels(layout: Layout, cutouts: Mapping[str, Image.Image], image_size: tuple[int, int]) -> None:
    for one in layout.boxes:
        if min(_size_in(one, cutouts[one.handle], image_size)) < MIN_PIXELS:
            raise UserError(
                "{handle} is too small to be drawn: make its box larger, or use a larger image.", handle=one.handle
            )


def _size_in(one: LayoutBox, cutout: Image.Image, image_size: tuple[int, int]) -> tuple[float, float]:
    """Return the width and height, in pixels, that a cut-out has in its box of an image."""
    x0, y0, x1, y1 = (side * image_size[i % 2] for i, side in enumerate(one.box))
    scale = min((x1 - x0) / cutout.width, (y1 - y0) / cutout.height)
    return cutout.width * scale, cutout.height * scale


@dataclass(frozen=True, eq=False)
class ObjectCrop:
    """The square part of an image around a box, in which an object has the size that the base draws it at.

    It may reach outside the image, which is mirrored there. An object that is to be mirrored is generated in the
    mirrored crop.

    Attributes:
        cutout: Of the object, RGBA.
        flip: Whether the object is mirrored.
        box: Left, top, right and bottom in pixels of the image.
        target: Left, top, width and height of the object in the (mirrored) crop, in its pixels.
        size: Side of the crop as it is generated, in pixels.
    """

    cutout: Image.Image
    flip: bool
    box: tuple[int, int, int, int]
    target: tuple[float, float, float, float]
    size: int

    @classmethod
    def around(cls, one: LayoutBox, cutout: Image.Image, image_size: tuple[int, int], size: int) -> "ObjectCrop":
        """Return the crop for an object of a layout in an image of this width and height."""
        x0, y0, x1, y1 = (side * image_size[i % 2] for i, side in enumerate(one.box))
        width, height = _size_in(one, cutout, image_size)
        side = max(1, round(max(width, height) / SIDE))
        left, top = round((x0 + x1 - side) / 2), round(y1 - GROUND * side)
        zoom = size / side
        target = ((x0 + x1 - width) / 2 - left, y1 - height - top, width, height)
        target = tuple(zoom * length for length in target)
        if one.flip:
            target = (size - target[0] - target[2], *target[1:])
        return cls(cutout, one.flip, (left, top, left + side, top + side), target, size)

    def start(self, image: Image.Image) -> np.ndarray:
        """Return the crop of an image with the cut-out in its place: (size, size, 3) uint8."""
        start = Image.fromarray(self._context(image))
        opaque = self._cutout_layer()
        start.paste(opaque, mask=opaque)
        return np.asarray(start)

    def put(self, image: Image.Image, drawn: Image.Image, segmenter: Segmenter) -> Image.Image:
        """Put the object of a generated crop, and its shadow, into an image: exactly into its box."""
        mask = self._find(image, drawn, segmenter)
        pixels, opacity, shadow = np.asarray(drawn), soften(mask), self._shadow(mask, image, drawn)
        left, top, right, bottom = Image.fromarray(mask).getbbox()
        if self.flip:
            pixels, opacity, shadow = (np.ascontiguousarray(values[:, ::-1]) for values in (pixels, opacity, shadow))
            left, right = self.size - right, self.size - left
        # 1. From pixels of the crop to those of the image: x * scale + offset
        target_left, target_top, width, height = self.target
        target_left = self.size - target_left - width if self.flip else target_left
        zoom = self.size / (self.box[2] - self.box[0])
        scale = min(width / (right - left), height / (bottom - top)) / zoom
        offset_x = self.box[0] + (target_left + width / 2) / zoom - (left + right) / 2 * scale
        offset_y = self.box[1] + (target_top + height) / zoom - bottom * scale
        # 2. The part of the image that the crop covers, and the part of the crop that covers it
        x0, y0 = max(0, round(offset_x + 0.5)), max(0, round(offset_y + 0.5))
        x1 = min(image.width, int(offset_x + self.size * scale))
        y1 = min(image.height, int(offset_y + self.size * scale))
        part = [(x0 - offset_x) / scale, (y0 - offset_y) / scale, (x1 - offset_x) / scale, (y1 - offset_y) / scale]
        part = np.clip(part, 0, self.size).tolist()

        def resized(values: np.ndarray) -> Image.Image:
            return Image.fromarray(values).resize((x1 - x0, y1 - y0), Image.Resampling.LANCZOS, box=part)

        # 3. The shadow on what is there, then the object
        below = np.asarray(image.crop((x0, y0, x1, y1)), np.float32)
        below = below * (1 - np.clip(np.asarray(resized(shadow)), 0, MAX_SHADOW))[..., None]
        opacity = np.clip(np.asarray(resized(opacity)), 0, 1)[..., None]
        mixed = below * (1 - opacity) + np.asarray(resized(pixels), np.float32) * opacity
        result = image.copy()
        result.paste(Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8)), (x0, y0))
        return result

    def _context(self, image: Image.Image) -> np.ndarray:
        """Return the crop of an image without the cut-out, (size, size, 3) uint8."""
        crop = Image.fromarray(cut_box(np.asarray(image), self.box)).resize((self.size,) * 2, Image.Resampling.LANCZOS)
        return np.asarray(crop)[:, ::-1] if self.flip else np.asarray(crop)

    def _cutout_layer(self) -> Image.Image:
        """Return the cut-out in its place on a transparent crop, RGBA."""
        left, top, width, height = self.target
        size = max(1, round(width)), max(1, round(height))
        layer = Image.new("RGBA", (self.size,) * 2)
        layer.paste(self.cutout.resize(size, Image.Resampling.LANCZOS), (round(left), round(top)))
        return layer

    def _find(self, image: Image.Image, drawn: Image.Image, segmenter: Segmenter) -> np.ndarray:
        """Find the object in a generated crop: (size, size) bool; the outline of the cut-out if none resembles it.

        What differs from the image within this outline belongs to the object too.
        """
        expected = np.asarray(self._cutout_layer().getchannel("A")) >= 128
        differences = np.abs(np.asarray(drawn, np.float32) - self._context(image)).max(-1)
        drawn_over = cv2.GaussianBlur(differences, (0, 0), 2 * EDGE * self.size) > MIN_DIFFERENCE
        drawn_over &= expected
        points = inner_points(drawn_over if drawn_over.any() else expected)
        left, top, width, height = self.target
        margin = MARGIN * self.size
        box = (left - margin, top - margin, left + width + margin, top + height + margin)
        found = [segmenter.predict(points[:count], [True] * count, box, drawn).masks for count in (1, len(points))]
        best = max(np.concatenate(found), key=lambda mask: overlap(mask, expected))
        # With the pale parts that the segmenter leaves out
        return largest_component(best | drawn_over) if overlap(best, expected) >= MIN_OVERLAP else expected

    def _shadow(self, mask: np.ndarray, image: Image.Image, drawn: Image.Image) -> np.ndarray:
        """Return the share of the light that the object's contact shadow takes, (size, size) float32.

        Its shape is the outline, flattened at the bottom and blurred. Its depth is how much darker the crop is
        there than the image.
        """
        left, top, right, bottom = Image.fromarray(mask).getbbox()
        height = max(3, round((bottom - top) * SHADOW_HEIGHT))
        outline = Image.fromarray(mask.astype(np.uint8) * 255).crop((left, top, right, bottom))
        layer = Image.new("L", (self.size,) * 2)
        layer.paste(outline.resize((right - left, height)), (left, bottom - height + height // 5))
        blur = SHADOW_BLUR * self.size
        shape = cv2.GaussianBlur(np.asarray(layer, np.float32) / 255, (0, 0), blur)
        outside = ~cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        before, after = (luminance(values) for values in (self._context(image), np.asarray(drawn)))
        weights = shape * outside
        if weights.sum() < 1:
            return np.zeros(mask.shape, np.float32)
        darker = (weights * (1 - after / np.maximum(before, 1))).sum() / (weights * shape).sum()
        return shape * float(np.clip(darker, 0, MAX_SHADOW))


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Return the luminance of an image (H, W, 3) uint8, (H, W) float32."""
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two masks (H, W) bool."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def inner_points(mask: np.ndarray) -> list[tuple[float, float]]:
    """Return POINTS positions (x, y) deep inside a mask (H, W) bool, apart from each other; the deepest first."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    ys, xs = np.nonzero(depth >= depth.max() / 2)
    order = [int(depth[ys, xs].argmax())]
    distances = np.full(len(xs), np.inf)
    for _ in range(POINTS - 1):
        distances = np.minimum(distances, np.hypot(xs - xs[order[-1]], ys - ys[order[-1]]))
        order.append(int(distances.argmax()))
    return [(float(xs[i]), float(ys[i])) for i in order]


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask (H, W) bool."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 2 else mask


def soften(mask: np.ndarray) -> np.ndarray:
    """Return the opacity of an object's pixels, (H, W) float32: 0 at the border of the mask, where others mix in."""
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), EDGE * len(mask))
    return np.clip(2 * blurred - 0.8, 0, 1)
