"""The words of the toybox's world: the names of its objects, places and styles, and captions made of them."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from breakascene.paths import SPRITES


@dataclass(frozen=True)
class Thing:
    """One object of the world. `held_out` things never enter the generator's training."""

    name: str
    code: str
    held_out: bool


@functools.cache
def things() -> tuple[Thing, ...]:
    """All objects, in the order of the sheet."""
    return tuple(Thing(**row) for row in json.loads((SPRITES / "objects.json").read_text()))


TRAINING = tuple(thing.name for thing in things() if not thing.held_out)
HELD_OUT = tuple(thing.name for thing in things() if thing.held_out)
EVERYTHING = tuple(thing.name for thing in things())
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
EVERYWHERE = (*PLACES, *BACKDROPS)
STYLES = ("a black and white photo", "an old photo", "a pencil drawing", "a painting")


def thing_words(name: str) -> str:
    """ "a fox", "an apple", "grapes"."""
    return name if name in WITHOUT_ARTICLE else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def join(words: Sequence[str]) -> str:
    """ "x", "x and y", "x, y and z"."""
    return " and ".join([", ".join(words[:-1]), *words[-1:]] if len(words) > 1 else words)


def caption(names: Sequence[str], place: str = "") -> str:
    """The plain caption: "a photo of a fox and a mushroom at the beach"."""
    return f"a photo of {join([thing_words(name) for name in names])} {place}".strip()
