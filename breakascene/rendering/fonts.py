"""Words in pictures: a font that has the letters, and lines that fit a width."""

from collections.abc import Sequence
from functools import cache

from PIL import ImageFont

# Fonts with Chinese and Japanese letters as Linux, macOS and Windows bring them; Pillow knows where those lie.
EASTERN = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "Hiragino Sans GB.ttc",
    "YuGothM.ttc",
    "msgothic.ttc",
)
FIRST_EASTERN = "\u2e80"  # from here on Unicode has the letters of East Asia


def font_for(texts: Sequence[str], size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font or, where a text needs it and the machine has it, one with Chinese and Japanese letters."""
    return (_eastern(size) if any(map(is_cjk, texts)) else None) or ImageFont.load_default(size)


def is_cjk(text: str) -> bool:
    return any(letter >= FIRST_EASTERN for letter in text)


def has_glyphs(text: str) -> bool:
    """Whether font_for's font surely has all letters of the text."""
    return text.isascii() or (is_cjk(text) and _eastern(12) is not None)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most `width` pixels, broken at spaces and, if it is eastern, between any letters."""
    lines = [""]
    for word in text.split():
        pieces = list(word) if is_cjk(word) else [word]
        for i, piece in enumerate(pieces):
            space = " " if i == 0 and lines[-1] else ""
            if lines[-1] and font.getlength(lines[-1] + space + piece) > width:
                lines.append(piece)
            else:
                lines[-1] += space + piece
    return lines


@cache
def _eastern(size: int) -> ImageFont.FreeTypeFont | None:
    for name in EASTERN:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None
