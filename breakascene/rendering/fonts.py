"""Fonts that have the glyphs of a text, and line wrapping."""

from collections.abc import Sequence
from functools import cache

from PIL import ImageFont

# Fonts with Chinese and Japanese glyphs that come with Linux, macOS and Windows; Pillow searches the font folders.
CJK_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "Hiragino Sans GB.ttc",
    "YuGothM.ttc",
    "msgothic.ttc",
)
FIRST_CJK = "\u2e80"  # Unicode's East Asian scripts start here


def font_for(texts: Sequence[str], size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's built-in font, or an installed CJK font if a text needs it.

    Args:
        texts: Texts that will be drawn in the font.
        size: Font size in pixels.
    """
    return (_cjk_font(size) if any(map(is_cjk, texts)) else None) or ImageFont.load_default(size)


def is_cjk(text: str) -> bool:
    """Return whether a text contains Chinese or Japanese characters."""
    return any(character >= FIRST_CJK for character in text)


def has_glyphs(text: str) -> bool:
    """Return whether the font chosen by `font_for` certainly has all glyphs of a text."""
    return text.isascii() or (is_cjk(text) and _cjk_font(12) is not None)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels: at spaces, in CJK words also between characters."""
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
def _cjk_font(size: int) -> ImageFont.FreeTypeFont | None:
    for name in CJK_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None
