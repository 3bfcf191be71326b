"""Content credentials: images that say that a model generated them, and the check of such a statement.

Every image carries IPTC's digital source type as XMP. With BREAKASCENE_CREDENTIALS, it also carries a C2PA manifest,
signed with the key in that folder, so that any change becomes visible (C2PA specification 2.2).
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, PngImagePlugin

from breakascene.errors import UserError
from breakascene.provenance.certificates import (
    DEFAULT_ORGANIZATION,
    SigningIdentity,
    load_identity,
    trusted_certificates,
)
from breakascene.rendering.fonts import font_for

PROGRAM = "Break-A-Scene Studio"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
EDITED = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"  # parts of a photo remain
XMP_KEY = "XML:com.adobe.xmp"
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmp:CreatorTool="{program}" Iptc4xmpExt:DigitalSourceType="{source}"/>
</rdf:RDF></x:xmpmeta><?xpacket end="r"?>"""
MAX_BYTES = 200_000_000  # of a file to verify
EXPIRED, UNTRUSTED = {"signingCredential.expired", "claimSignature.outsideValidity"}, "signingCredential.untrusted"
OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}


def png_bytes(
    image: Image.Image, text: Mapping[str, str] | None = None, photo: str = "", source: str = GENERATED
) -> bytes:
    """Encode a generated image as a PNG with XMP and, if a key is set up, a signed C2PA manifest.

    Args:
        image: The generated image. With BREAKASCENE_MARK, that text is drawn into its lower right corner.
        text: Further text chunks of the PNG, key → value.
        photo: SHA-256 of the photo that the image's objects come from, as hex digits, named as an ingredient; those of
            several photos are joined by "+".
        source: GENERATED, or EDITED for a photo in which a model has replaced a part.

    Raises:
        UserError: If the image cannot be signed.
    """
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    chunks.add_itxt(XMP_KEY, XMP.format(program=PROGRAM, source=source))
    stream = io.BytesIO()
    _marked(image, os.environ.get("BREAKASCENE_MARK", "")).save(stream, "PNG", pnginfo=chunks)
    folder = credentials_folder()
    return _signed(stream.getvalue(), folder, photo, source) if folder else stream.getvalue()


def credentials_folder() -> Path | None:
    """The folder of the signing key, BREAKASCENE_CREDENTIALS; None if images are not signed."""
    folder = os.environ.get("BREAKASCENE_CREDENTIALS")
    return Path(folder) if folder else None


def open_identity(folder: Path) -> SigningIdentity:
    """Load the signing identity of a folder; one that is made names BREAKASCENE_ORGANIZATION. Raises UserError."""
    return load_identity(folder, os.environ.get("BREAKASCENE_ORGANIZATION") or DEFAULT_ORGANIZATION)


def _marked(image: Image.Image, mark: str) -> Image.Image:
    if not mark:
        return image
    size = max(9, min(image.size) // 24)
    font, margin = font_for([mark], size), size // 2
    image = image.convert("RGB")  # a copy
    draw = ImageDraw.Draw(image)
    corner = image.width - margin, image.height - margin
    draw.rectangle(draw.textbbox(corner, mark, font, anchor="rd"), fill="black")
    draw.text(corner, mark, "white", font, anchor="rd")
    return image


def _signed(png: bytes, folder: Path, photo: str, source: str) -> bytes:
    c2pa = _import_c2pa()
    identity = open_identity(folder)
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": {"name": PROGRAM}}
    manifest = {
        "claim_generator_info": [{"name": PROGRAM}],
        "format": "image/png",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    if photo:
        ingredient = {"title": "photo", "format": "image/png", "relationship": "inputTo"}
        manifest["ingredients"] = [{**ingredient, "instance_id": f"urn:sha256:{one}"} for one in photo.split("+")]
    settings = {"builder": {"thumbnail": {"enabled": False}}, "verify": OFFLINE}
    signed = io.BytesIO()
    try:
        info = c2pa.C2paSignerInfo("es256", identity.certificates.encode(), identity.private_key.encode(), None)
        with c2pa.Signer.from_info(info) as signer, c2pa.Context.from_dict(settings) as context:
            builder = c2pa.Builder.from_json(json.dumps(manifest), context)
            builder.sign(signer, "image/png", io.BytesIO(png), signed)
    except c2pa.C2paError as error:
        raise UserError(f"The image cannot be signed ({error}): check the certificates in {folder}.") from error
    return signed.getvalue()


@dataclass(frozen=True)
class Verification:
    """What an image says about its origin.

    Attributes:
        state: "ours" (signed with a key of the given folder, unchanged since), "foreign" (signed with another key,
            unchanged since), "changed" (signed, but not valid any more), "expired" (as "ours", but the certificate is
            no longer valid), "unsigned" (says that it was generated, without a signature) or "unknown".
        signer: Organization in the signing certificate, or "".
        source: Digital source type, the last part of IPTC's URI, or "".
        photo: SHA-256 of the photo named as an ingredient, or ""; several are joined by "+".
    """

    state: str
    signer: str = ""
    source: str = ""
    photo: str = ""


def verify(file: Path | str, folder: Path | str | None = None) -> Verification:
    """Check the content credentials of an image.

    Args:
        file: An image in any format that Pillow and C2PA know.
        folder: Our own certificates; default: BREAKASCENE_CREDENTIALS.

    Raises:
        UserError: If the file is not an image, or the package c2pa-python is missing.
    """
    file, folder = Path(file), Path(folder) if folder else credentials_folder()
    try:
        if file.exists() and not file.is_file():
            raise UserError(f"{file} is not a regular file: give the image file itself.")
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file} is larger than {MAX_BYTES // 1_000_000} MB: give a single image.")
        if result := _verify_manifest(file, folder):  # first: an image that was damaged may have a manifest
            return result
        with Image.open(file) as image:
            xmp = str(image.info.get("xmp") or image.info.get(XMP_KEY) or "")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} is not an image that can be read: give a PNG, JPEG or WebP file.") from error
    found = next((source for source in (GENERATED, EDITED) if source in xmp), None)
    return Verification("unsigned", source=found.rpartition("/")[2]) if found else Verification("unknown")


def _verify_manifest(file: Path, folder: Path | None) -> Verification | None:
    """Check the C2PA manifest of an image; None if it has none."""
    c2pa = _import_c2pa()
    # A root may have issued certificates to others too: ours is a certificate of that root with our serial number
    roots, serial_numbers = trusted_certificates(folder) if folder and folder.is_dir() else ("", set())
    settings = {"verify": {"verify_trust": True, **OFFLINE}, **({"trust": {"user_anchors": roots}} if roots else {})}
    try:
        with open(file, "rb") as stream, c2pa.Context.from_dict(settings) as context:
            reader = c2pa.Reader.try_create("", stream, context=context)
            if reader is None:
                return None
            with reader:
                state, results = reader.get_validation_state(), reader.get_validation_results() or {}
                manifest = reader.get_active_manifest() or {}
    except c2pa.C2paError.NotSupported:
        return None
    except c2pa.C2paError:  # a manifest that cannot even be parsed, or a damaged file without one
        return Verification("changed") if b"c2pa" in file.read_bytes() else None
    failures = {entry.get("code", "") for entry in results.get("activeManifest", {}).get("failure", ())}
    signature = manifest.get("signature_info") or {}
    if state in ("Trusted", "Valid"):
        ours = state == "Trusted" and str(signature.get("cert_serial_number")) in serial_numbers
        state = "ours" if ours else "foreign"
    else:
        state = "expired" if failures & EXPIRED and failures <= EXPIRED | {UNTRUSTED} else "changed"
        if state == "expired" and str(signature.get("cert_serial_number")) not in serial_numbers:
            state = "foreign"
    actions = [
        action
        for assertion in manifest.get("assertions", ())
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    source = next((str(action["digitalSourceType"]) for action in actions if "digitalSourceType" in action), "")
    identifiers = [str(ingredient.get("instance_id", "")) for ingredient in manifest.get("ingredients", ())]
    return Verification(
        state,
        signer=str(signature.get("issuer") or ""),
        source=source.rpartition("/")[2],
        photo="+".join(name.removeprefix("urn:sha256:") for name in identifiers if name.startswith("urn:sha256:")),
    )


def _import_c2pa():
    try:
        import c2pa
    except ImportError as error:
        raise UserError("Content credentials need the package c2pa-python: pip install c2pa-python.") from error
    return c2pa
