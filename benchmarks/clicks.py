"""Time from a click to its mask on the canvas: python -m benchmarks.clicks

The work of the studio's click handler (segmenter, canvas, texts) on photos of several sizes: the median over many
clicks, without the image embedding, and the time of the embedding.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from breakascene.data.scene import load_scene
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio.screens.select import about, hint, write_canvas
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.state import selection as selections
from breakascene.studio.state.selection import Selection
from breakascene.studio.state.session import Session

SIZES = (256, 1024, 4000)  # pixels of the longer side; phones take photos of 4000
CLICKS = 30


def measure() -> None:
    """Print the times for each photo size."""
    segmenter, photo = Segmenter.load(), load_scene(samples()[0]).photo
    for size in SIZES:
        large = photo.resize((size, size * 3 // 4))
        started = time.perf_counter()
        segmenter.set_image(large)
        embedding, rng, times = time.perf_counter() - started, np.random.default_rng(0), []
        with tempfile.TemporaryDirectory() as folder:
            session = Session("benchmark", Path(folder))
            for _ in range(CLICKS):
                x, y = rng.integers(large.width), rng.integers(large.height)
                started = time.perf_counter()
                session.history.change(selections.click(Selection(large), segmenter, int(x), int(y), "include"))
                selection = session.history.selection
                write_canvas(session.history), hint(selection), about(selection)
                times.append(time.perf_counter() - started)
        print(f"{large.width} × {large.height}: a click {1000 * median(times):.0f} ms, embedding {embedding:.2f} s")


if __name__ == "__main__":
    measure()
