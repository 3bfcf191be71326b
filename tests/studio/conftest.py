"""A run that the studio of a module has made."""

import pytest

from breakascene.data.scene import load_scene
from breakascene.studio import loaded
from breakascene.studio.screens.select_actions import samples
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def run(address, tmp_path_factory):
    """A short run of a sample, by the base of the running studio."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run_extraction(load_scene(samples()[1]), loaded.base(), preset("quick", loaded.base(), steps=(1, 0)), out)
    return out
