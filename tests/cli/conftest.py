from pathlib import Path

import pytest
from helpers.files import save_mask


@pytest.fixture
def files(tmp_path, scene) -> Path:
    """A folder with a photo and a mask of each of its objects."""
    scene.photo.save(tmp_path / "photo.png")
    for concept in scene.concepts:
        save_mask(tmp_path / f"{concept.name}.png", concept.mask)
    return tmp_path
