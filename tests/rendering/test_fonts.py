import pytest
from PIL import ImageFont

from breakascene.rendering.fonts import _cjk_font, font_for, has_glyphs, wrap

JAPANESE = "海辺の小さな狐と、赤いきのこの写真です"
needs_font = pytest.mark.skipif(_cjk_font(12) is None, reason="no font with Japanese glyphs on this machine")


def test_english_uses_the_built_in_font():
    assert font_for(["a fox", "crème brûlée"], 15).getname() == ImageFont.load_default(15).getname()
    assert has_glyphs("a fox")


@needs_font
def test_japanese_characters_have_glyphs():
    font = font_for(["a fox", JAPANESE], 15)
    assert has_glyphs(JAPANESE)
    glyphs = {bytes(font.getmask(character)) for character in "海辺小狐赤写真"}
    assert len(glyphs) == 7  # all missing characters would share one glyph


@needs_font
def test_japanese_is_broken_between_characters():
    font = font_for([JAPANESE], 15)
    lines = wrap(JAPANESE, font, 100)
    assert len(lines) > 2 and "".join(lines) == JAPANESE
    assert all(font.getlength(line) <= 100 for line in lines)


def test_english_is_broken_at_spaces():
    font, text = font_for([], 15), "a photo of a fox and a mushroom at the beach"
    lines = wrap(text, font, 100)
    assert len(lines) > 2 and " ".join(lines) == text
    assert all(font.getlength(line) <= 100 for line in lines)
    assert wrap("mushroommushroommushroom", font, 20) == ["mushroommushroommushroom"]
