"""Runs that several modules compare with."""

import pytest
from helpers.runs import short

from breakascene.models.concepts import Concepts
from breakascene.training.loop import run_extraction


@pytest.fixture(scope="session")
def full_runs(tiny_base, scene) -> dict[str, Concepts]:
    """An uninterrupted run of each kind, in the memory mode "fast"."""
    return {
        name: run_extraction(scene, tiny_base, short(tiny_base, name), memory="fast") for name in ("light", "paper")
    }
