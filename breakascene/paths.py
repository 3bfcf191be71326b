"""Paths of the embedded assets and of the cache."""

import os
import tempfile
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
TOYBOX = ASSETS / "toybox"  # the embedded base, in the diffusers layout
SAMPLES = ASSETS / "samples"  # one scene folder for each sample
SPRITES = ASSETS / "sprites"  # images of the toybox's objects


def cache_folder() -> Path:
    """Return the folder for recomputable data: BREAKASCENE_CACHE, or "breakascene" in the user's cache folder."""
    if override := os.environ.get("BREAKASCENE_CACHE"):
        return Path(override)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "breakascene"
    except RuntimeError:  # no HOME, and the user has no account
        return Path(tempfile.gettempdir()) / f"breakascene-{os.getuid()}"
