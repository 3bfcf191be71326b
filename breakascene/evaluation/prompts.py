"""Prompts that place the concepts of a scene somewhere new."""

from collections.abc import Sequence

from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import MAX_TOGETHER

# Places for the evaluation, for each concept alone and for all together.
EVALUATION_PLACES = ("at the beach", "in the snow", "on the grass", "on a wooden table")
# Places for the demo's gallery: more of them, but no place twice.
DEMO_PLACES = ("at the beach", "in the snow", "on the grass", "under water")
DEMO_JOINT_PLACES = ("on a wooden table", "in the desert")


def default_prompts(handles: Sequence[str]) -> list[str]:
    """Return the prompts of an evaluation: each concept alone, then all together, in each of EVALUATION_PLACES.

    Concepts that were extracted in groups are too many for one prompt, and are put together in pairs.
    """
    joint_places = EVALUATION_PLACES if len(_objects(handles)) > 1 else ()
    return prompts_in_places(handles, EVALUATION_PLACES, joint_places)


def demo_prompts(handles: Sequence[str]) -> list[str]:
    """Return the prompts of the demo: each concept alone in DEMO_PLACES, then all together in DEMO_JOINT_PLACES."""
    return prompts_in_places(handles, DEMO_PLACES, DEMO_JOINT_PLACES)


def prompts_in_places(handles: Sequence[str], places: Sequence[str], joint_places: Sequence[str]) -> list[str]:
    """Return one prompt for each concept and place, then one with all concepts, or each pair, for each joint place.

    Args:
        handles: Handles of the concepts; `<background>` is left out.
        places: Endings of the prompts with one concept, such as "at the beach".
        joint_places: Endings of the prompts with all concepts.
    """
    objects = _objects(handles)
    alone = [f"a photo of {handle} {place}" for handle in objects for place in places]
    together = [objects] if len(objects) <= MAX_TOGETHER else list(zip(objects[::2], objects[1::2], strict=False))
    return alone + [f"a photo of {' and '.join(some)} {place}" for some in together for place in joint_places]


def _objects(handles: Sequence[str]) -> list[str]:
    return [handle for handle in handles if handle != BACKGROUND]
