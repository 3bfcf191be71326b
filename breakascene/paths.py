"""Paths of the embedded assets and of the cache."""

import getpass
import os
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ASSETS = PACKAGE / "assets" if (PACKAGE / "assets").is_dir() else PACKAGE.parent / "assets"  # installed; in a checkout
TOYBOX = ASSETS / "toybox"  # the embedded base, in the diffusers layout
SAMPLES = ASSETS / "samples"  # one scene folder for each sample
SPRITES = ASSETS / "sprites"  # images of the toybox's objects


def set_missing_user() -> None:
    """Give a user without a name or a home, as in many containers, those that libraries ask for when imported."""
    own = Path(tempfile.gettempdir()) / f"breakascene-{os.getuid() if hasattr(os, 'getuid') else 0}"
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = own.name
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = str(own)


def cache_folder() -> Path:
    """Return the folder for recomputable data: BREAKASCENE_CACHE, or "breakascene" in the user's cache folder."""
    if override := os.environ.get("BREAKASCENE_CACHE"):
        return Path(override)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "breakascene"
