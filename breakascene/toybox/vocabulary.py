"""The vocabulary of the toybox: names of objects, places and styles, and captions built from them."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from breakascene.paths import SPRITES


@dataclass(frozen=True)
class ToyObject:
    """An object of the toybox.

    Args:
        name: Plain English name, which is also its class for the judge.
        code: Code point of its emoji, the name of the sprite's file.
        held_out: Whether the generator never sees it during pretraining.
    """

    name: str
    code: str
    held_out: bool


@functools.cache
def toy_objects() -> tuple[ToyObject, ...]:
    """Return all objects, in the order of the sprite sheet."""
    return tuple(ToyObject(**row) for row in json.loads((SPRITES / "objects.json").read_text()))


TRAINING = tuple(toy.name for toy in toy_objects() if not toy.held_out)
HELD_OUT = tuple(toy.name for toy in toy_objects() if toy.held_out)
ALL_NAMES = tuple(toy.name for toy in toy_objects())
WITHOUT_ARTICLE = frozenset(
    "grapes blueberries pancakes fries noodles spaghetti sushi popcorn jeans gloves socks shorts books salad soap "
    "bread meat corn curry soda coffee beer chocolate candy yarn butter broccoli".split()
) | {"nesting dolls"}
PLACES = (
    "at the beach",
    "in the snow",
    "on the grass",
    "in the desert",
    "on a wooden table",
    "in front of a brick wall",
    "under the night sky",
    "under water",
    "in the forest",
    "in the street",
    "at sunset",
    "in the kitchen",
)
BACKDROPS = tuple(
    f"on a {color} background" for color in ("white", "grey", "red", "yellow", "green", "blue", "purple", "pink")
)
ALL_PLACES = (*PLACES, *BACKDROPS)
STYLES = ("a black and white photo", "an old photo", "a pencil drawing", "a painting")


def with_article(name: str) -> str:
    """Return "a fox", "an apple" or "grapes"."""
    return name if name in WITHOUT_ARTICLE else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def join(phrases: Sequence[str]) -> str:
    """Return "x", "x and y" or "x, y and z"."""
    return " and ".join([", ".join(phrases[:-1]), *phrases[-1:]] if len(phrases) > 1 else phrases)


def caption(names: Sequence[str], place: str = "") -> str:
    """Return the plain caption of a scene, such as "a photo of a fox and a mushroom at the beach"."""
    return f"a photo of {join([with_article(name) for name in names])} {place}".strip()
