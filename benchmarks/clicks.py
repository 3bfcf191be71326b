"""How long a click takes until its mask can be seen: python -m benchmarks.clicks

The work of the studio's handler for one click (segmenter, picture of the masks, what is said of them), embedding apart,
on photos of several sizes; the median over many clicks, and for scale the time to embed a photo.
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

SIZES = (256, 1024, 4000)  # pixels of the longer side; the last is what a phone takes
CLICKS = 30


def measure() -> None:
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
                write_canvas(session), hint(selection), about(selection)
                times.append(time.perf_counter() - started)
        print(f"{large.width} × {large.height}: a click {1000 * median(times):.0f} ms, embedding {embedding:.2f} s")


if __name__ == "__main__":
    measure()
