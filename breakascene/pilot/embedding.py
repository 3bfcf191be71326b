"""Images inside HTML pages, so that a page is one file that can be mailed."""

import base64
import io

from PIL import Image


def data_uri(data: bytes, side: int) -> str:
    """Return an image as a data URI: a JPEG of at most `side` × 2 pixels, sharp on fine screens."""
    with Image.open(io.BytesIO(data)) as image:
        image = image.convert("RGB")
        image.thumbnail((2 * side, 2 * side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "jpeg", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
