"""The rule on people and brands in photos: what has to be declared before a photo is learned and its objects are drawn.

BREAKASCENE_CONSENT says what a missing declaration does: "warn" (the default), "required" (the run is refused) or "off"
(faces are not looked for). With BREAKASCENE_FACES=refused, photos with faces are refused whatever is declared.
"""

import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from breakascene.data.consent import Consent
from breakascene.data.scene import Scene
from breakascene.errors import UserError
from breakascene.provenance.faces import count_faces

WARN, REQUIRED, OFF = "warn", "required", "off"


def mode() -> str:
    """The value of BREAKASCENE_CONSENT. Raises UserError if it is unknown."""
    return _setting("BREAKASCENE_CONSENT", (WARN, REQUIRED, OFF))


def faces_refused() -> bool:
    """Whether BREAKASCENE_FACES refuses photos with faces. Raises UserError if it has an unknown value."""
    return _setting("BREAKASCENE_FACES", ("allowed", "refused")) == "refused"


def check_scene(scene: Scene) -> list[str]:
    """Check what is declared about the photos of a scene, before it is learned.

    Returns:
        Warnings, a sentence each.

    Raises:
        UserError: If a photo must not be learned.
    """
    warnings = []
    for photo, _ in scene.photos():
        masks = [concept.mask for concept in photo.concepts]
        warnings += check_photo(photo.photo, masks, photo.consent or scene.consent)
    return list(dict.fromkeys(warnings))


def check_photo(photo: Image.Image, masks: Sequence[np.ndarray], declared: Consent | None) -> list[str]:
    """Check what is declared about a photo with masks (H, W); see check_scene."""
    consent_mode, refused = mode(), faces_refused()
    if declared and declared.expired:
        raise _expired(declared)
    faces = count_faces(photo, masks) > 0 if refused or consent_mode != OFF else False
    if refused and (faces or (declared and declared.shown)):
        raise UserError("A face was found, and photos with people are not taken here: use another photo.")
    missing = faces if declared is None else not declared.given
    if missing and consent_mode == REQUIRED:
        raise UserError("A person may be shown: say who agreed, to what and until when, or that nobody is shown.")
    if missing and consent_mode == WARN:
        return ["A person may be shown: make sure that everybody shown has agreed."]
    return []


def check_start(photo: Image.Image) -> list[str]:
    """Check a photo that generation starts from, about which nothing can be declared; returns warnings.

    Raises:
        UserError: If it shows a face, and faces are refused or a consent is required.
    """
    if mode() == REQUIRED and count_faces(photo):
        raise UserError(
            "A person may be shown: extract the photo with the consent of those shown, then generate variations of it."
        )
    return check_photo(photo, [], None)


def has_face(scene: Scene) -> bool:
    """Whether a face is found in the photo of a scene or around its objects."""
    return count_faces(scene.photo, [concept.mask for concept in scene.concepts]) > 0


def check_valid(consents: Iterable[Consent]) -> None:
    """Raise UserError if a consent has expired, before objects are drawn again."""
    for consent in consents:
        if consent.expired:
            raise _expired(consent)


def _expired(consent: Consent) -> UserError:
    return UserError(
        "The consent of {who} ended on {until}: ask them again, then extract again with the new day.",
        who=consent.who, until=consent.until,
    )  # fmt: skip


def _setting(name: str, values: tuple[str, ...]) -> str:
    value = os.environ.get(name, "").strip() or values[0]
    if value not in values:
        raise UserError(f"{name} is {value[:40]!r}: set it to {', '.join(values[:-1])} or {values[-1]}.")
    return value
