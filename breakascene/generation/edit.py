"""Local editing: repaint a region of a photo by a prompt with handles, and leave everything else as it is.

Blended Latent Diffusion (Avrahami et al. 2023, arXiv 2206.02779), which section 4.2 of the Break-A-Scene paper uses:
after each denoising step, the latents outside the region are replaced by those of the photo at the same noise. The
result is pasted into the photo at its own resolution, so that all pixels outside the region stay bit for bit the same.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from breakascene.data import validation
from breakascene.data.consent import Consent
from breakascene.data.image_io import Source, read_photo
from breakascene.data.scene import photo_hash
from breakascene.errors import TranslatableMessage, UserError
from breakascene.generation.generate import BATCH, GeneratedImage, generate, read_metadata
from breakascene.generation.region import check_region, crop_around, extent_of
from breakascene.generation.start import Start
from breakascene.generation.variations import check_strength
from breakascene.models.base import Base
from breakascene.models.concepts import MAX_CONSENTS, Concepts
from breakascene.models.lora import ExternalLora
from breakascene.provenance import consent as consent_rule

STRENGTH = 1.0  # the default
MAX_EDITS, MAX_HASHES = 1000, 100_000  # of a photo, and characters of the hashes of the photos behind it
MAX_ENLARGEMENT = 1.5  # above which a note says that the region is less sharp than the photo


def edit(
    base: Base,
    concepts: Concepts | None,
    photo: Source,
    region: np.ndarray,
    prompt: str,
    *,
    count: int = 1,
    seed: int = 0,
    num_inference_steps: int = 20,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    strength: float = STRENGTH,
    consent: Consent | None = None,
    batch_size: int = BATCH,
    loras: Sequence[ExternalLora] = (),
    on_preview: Callable[[Image.Image], None] | None = None,
) -> Iterator[GeneratedImage]:
    """Repaint a region of a photo by a prompt.

    Args:
        base: The base model.
        concepts: The concepts whose handles the prompt may use; None for the plain base.
        photo: The photo, see read_photo. A file that this function's images were saved to keeps what its metadata say
            about the photos and consents.
        region: The region, (H, W) bool in pixels of the upright photo; see box_region and read_mask.
        prompt: What the region is to show, in its surroundings.
        count: Images, of the seeds from `seed` on.
        seed: Seed of the first image.
        num_inference_steps: Denoising steps.
        guidance_scale: See generate.
        negative_prompt: Prompt to steer away from.
        strength: Share of the denoising steps that are done, above 0 to 1: less keeps shapes and colors of the region.
        consent: What was declared about people and brands in the photo.
        batch_size: Images generated at once.
        loras: LoRAs from other programs, see generate.
        on_preview: Called now and then with a small preview of the region and its surroundings.

    Yields:
        The edited photos, with the metadata of generate and, under "edit", the hash of the photo, the region (its
        extent, number of pixels and hash), the crop in pixels of the photo, and the edits before this one.

    Raises:
        UserError: As generate and read_photo do, for a region that is empty or has another size than the photo, and for
            a photo that must not be used (consent.check_photo). Raised by the call itself.
    """
    # 1. Check the inputs
    check_strength(strength)
    image = read_photo(photo)
    region = np.asarray(region, bool)
    origin = read_origin(photo)
    consents = [*((consent,) if consent else ()), *origin.consents]
    consent_rule.check_valid(consents)
    for note in check_edit(base, image, region, next(iter(consents), None)):
        warnings.warn(note, stacklevel=2)
    crop = crop_around(region, base)

    # 2. Prepare the metadata
    photos = [origin.photo or photo_hash(image), *((concepts.photo,) if concepts else ())]
    consents += concepts.consents if concepts else ()
    metadata = {
        "photo": "+".join(dict.fromkeys(one for joined in photos for one in joined.split("+") if one)),
        "edit": {
            "photo": photo_hash(image),
            "region": {
                "box": extent_of(region),
                "pixels": int(region.sum()),
                "sha256": hashlib.sha256(np.packbits(region).tobytes()).hexdigest(),
            },
            "crop": crop.box,
            "before": list(origin.edits),
        },
    }
    if consents:
        metadata["consents"] = [declared.to_json() for declared in dict.fromkeys(consents)]

    # 3. Generate the crop, blended with the photo in every step
    def blend(latents: torch.Tensor, photo_latents: torch.Tensor, progress: float) -> torch.Tensor:
        return torch.where(crop.latent_mask(progress).to(latents.device), latents, photo_latents)

    latents, _ = base.encode(crop.pixels(image)[None])
    painted = generate(
        base,
        concepts,
        [prompt],
        count=count,
        seed=seed,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        batch_size=batch_size,
        loras=loras,
        on_preview=on_preview,
        start=Start(latents, strength, blend, metadata),
    )

    # 4. Paste it into the photo
    def edited() -> Iterator[GeneratedImage]:
        for one in painted:
            size = {"width": image.width, "height": image.height}
            yield GeneratedImage(crop.paste(image, one.image), {**one.metadata, **size})

    return edited()


def check_edit(base: Base, photo: Image.Image, region: np.ndarray, declared: Consent | None) -> list[str]:
    """Check a photo and a region (H, W) bool, and what is declared about the photo.

    Returns:
        Notes for the user, a sentence each.

    Raises:
        UserError: As `edit` does for them.
    """
    check_region(region, photo.size)
    notes = consent_rule.check_photo(photo, [region], declared)
    crop = crop_around(region, base)
    if crop.enlargement > MAX_ENLARGEMENT:
        width, height = crop.size
        note = TranslatableMessage(
            "{base} generates {width} × {height} pixels, so the region is enlarged {factor:.1f} times and less sharp "
            "than the photo: mark a smaller region for more detail.",
            base=base.name, width=width, height=height, factor=crop.enlargement,
        )  # fmt: skip
        notes.append(note)
    return notes


@dataclass(frozen=True)
class Origin:
    """What the metadata of a photo say that was generated or edited here.

    Attributes:
        photo: Hashes of the photos behind it, joined by "+".
        consents: What was declared about them.
        edits: Its edits, the first one first, as JSON.
    """

    photo: str = ""
    consents: tuple[Consent, ...] = ()
    edits: tuple[dict, ...] = ()


def read_origin(photo: Source) -> Origin:
    """Read the origin of a photo; that of a photo of others, or with damaged metadata, is empty."""
    if isinstance(photo, Image.Image):
        return Origin()
    try:
        metadata = read_metadata(photo)
        consents = validation.checked_list(metadata.get("consents", []), MAX_CONSENTS, "its consents")
        edits = []
        if "edit" in metadata:
            last = validation.checked_dict(metadata["edit"], "its edit")
            edits = validation.checked_list(last.pop("before"), MAX_EDITS - 1, "its edits")
            edits = [*edits, {**{key: metadata[key] for key in ("prompt", "seed", "index", "run")}, **last}]
        hashes = validation.checked_text(metadata.get("photo", ""), MAX_HASHES, "the hash of its photo")
        return Origin(hashes, tuple(map(Consent.from_json, consents)), tuple(edits))
    except (UserError, ValueError, KeyError):
        return Origin()
