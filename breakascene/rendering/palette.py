"""Colors of charts, overlays and the studio's canvas."""

# Okabe and Ito's palette for color-blind readers. The classes .number-0 to .number-7 in studio.css repeat it.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00", "#999999")
INK = "#222222"  # text
FAINT = "#dddddd"  # grid lines


def color_of(index: int) -> str:
    """Return the color of the concept or series `index`; the palette repeats after eight."""
    return PALETTE[index % len(PALETTE)]
