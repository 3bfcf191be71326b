"""Why images and photos fail, in words and with a remedy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from breakascene.models.loading import short_name
from breakascene.pilot.plan import Thresholds
from breakascene.pilot.task import FAILED

MISSING, MIXED, DIFFERENT, PROMPT = "missing", "mixed", "different", "prompt"
TEXTS = {  # cause: title in the table of reasons, sentence about a photo
    MISSING: ("An object does not appear", "An object does not appear in {n} of {count} images"),
    MIXED: ("Objects are mixed up", "One object looks like another one of the photo in {n} of {count} images"),
    DIFFERENT: ("An object looks different", "An object looks different from the photo in {n} of {count} images"),
    PROMPT: ("The prompt is not followed", "The prompt is not followed in {n} of {count} images"),
}
UNPROCESSED = "Could not be processed"
UNFAMILIAR = "Unlike what the base knows"
ADVICE = "Masks or attention are doubtful"
MOST_ADVICE = 2  # sentences for a photo
STRONGER = {"quick": "light", "light": "paper"}


@dataclass(frozen=True)
class Reason:
    """Why a photo fails.

    Args:
        title: The same for all photos with this reason.
        sentence: About this photo.
        remedy: What to do; "" where the sentence says it.
    """

    title: str
    sentence: str
    remedy: str = ""


def causes(row: dict, names: Sequence[str], limits: Thresholds) -> list[str]:
    """Return the causes for which an image is not usable, none for a usable one.

    Args:
        row: The image in a result.
        names: Names of the photo's objects.
        limits: With both similarities set.
    """
    found = []
    poor = [handle for handle, value in row["identity"].items() if value < limits.identity]
    if poor:
        seen = row["seen"] or {}
        if any(row["identity"][handle] <= 0 for handle in poor):
            found.append(MISSING)
        elif any(seen.get(handle) in names and seen[handle] != _name(handle, names) for handle in poor):
            found.append(MIXED)
        else:
            found.append(DIFFERENT)
    if row["prompt_similarity"] < limits.prompt:
        found.append(PROMPT)
    return found


def reasons_of(result: dict, limits: Thresholds) -> list[Reason]:
    """Return the reasons for the images of a photo that are not usable, the most frequent first."""
    if result["state"] == FAILED:
        return [Reason(UNPROCESSED, result["reason"])]
    found = []
    if result["unfamiliar"]:
        found.append(
            Reason(
                UNFAMILIAR,
                f"The photo is unlike those that {short_name(result['base'])} was trained on.",
                "Use Stable Diffusion or SDXL as the base.",
            )
        )
    names = [one["name"] for one in result["objects"]]
    counts = Counter(cause for row in result["images"] for cause in causes(row, names, limits))
    for cause, n in counts.most_common():
        title, sentence = TEXTS[cause]
        text = sentence.format(n=n, count=len(result["images"])) + "."
        found.append(Reason(title, text, _remedy(cause, result)))
    return found + [Reason(ADVICE, sentence) for sentence in result["advice"][:MOST_ADVICE] if counts]


def _remedy(cause: str, result: dict) -> str:
    stronger = STRONGER.get(result["preset"])
    preset = f"Extract with the preset {stronger}" if stronger else "Extract with more steps"
    several = len(result["objects"]) > 1
    if cause == PROMPT:
        return "Shorten the prompt and name a plain place, or raise guidance_scale."
    if cause == MIXED:
        return f"{preset}, or extract fewer objects of the photo together."
    if cause == MISSING and several:
        return f"{preset}, or generate its objects one at a time."
    return f"{preset}, and check that the mask covers the whole object and nothing else."


def _name(handle: str, names: Sequence[str]) -> str:
    return names[int(handle.removeprefix("<asset").rstrip(">"))]
