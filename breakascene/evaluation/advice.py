"""What could be better about a scene before it is learned, and about what was learned: sentences for people."""

from breakascene.data.scene import Scene
from breakascene.errors import TranslatableMessage
from breakascene.models.concepts import Concepts

SMALL = 4 / 16**2  # four cells of the maps that the attention loss reads
SHARED = 0.1  # of the smaller mask
ASTRAY = 0.8  # of a handle's attention; a good run on the toybox has 0.6, one that learned nothing 0.9


def scene_advice(scene: Scene) -> list[str]:
    """One sentence for each thing that is tiny in what the model will see, and for each two masks that overlap."""
    found = []
    masks = scene.crop_masks(256)  # any size will do for shares
    for handle, name, share in zip(scene.handles, scene.names, masks.mean((1, 2)), strict=False):
        if share < SMALL:
            found.append(
                TranslatableMessage(
                    "{handle} ({name}) is tiny: {share:.1%} of the square that is learned from. Crop the photo closer, "
                    "or learn it in a run of its own.",
                    handle=handle, name=name, share=share,
                )
            )  # fmt: skip
    for i, first in enumerate(scene.concepts):
        for j in range(i + 1, len(scene.concepts)):
            second = scene.concepts[j]
            share = (first.mask & second.mask).sum() / min(first.mask.sum(), second.mask.sum())
            if share > SHARED:
                found.append(
                    TranslatableMessage(
                        "{one} ({name}) and {other} ({other_name}) share {share:.0%} of the smaller mask, so their "
                        "looks may mix: take the shared part out of one of them.",
                        one=scene.handles[i], name=first.name,
                        other=scene.handles[j], other_name=second.name, share=share,
                    )
                )  # fmt: skip
    return found


def run_advice(concepts: Concepts) -> list[str]:
    """One sentence for each handle whose attention leaks: it may bring along what stands beside it."""
    return [
        TranslatableMessage(
            "{handle} ({name}) looks outside its mask for {share:.0%} of its attention, so it "
            "may mix with the rest of the photo: give it more steps, a closer crop, or fewer things in one run.",
            handle=handle, name=name, share=concepts.leak[handle],
        )
        for handle, name in zip(concepts.handles, concepts.names, strict=True)
        if concepts.leak.get(handle, 0) > ASTRAY
    ]  # fmt: skip
