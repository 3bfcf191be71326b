"""Locations of the embedded assets and of the cache."""

import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
TOYBOX = ASSETS / "toybox"  # the embedded base, in the diffusers layout
SAMPLES = ASSETS / "samples"  # scene folders to try
SPRITES = ASSETS / "sprites"  # pictures of the toybox's objects


def cache_folder() -> Path:
    """Return the folder for data that can be computed again: BREAKASCENE_CACHE, else one in the user's cache folder."""
    own = os.environ.get("BREAKASCENE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "breakascene"
