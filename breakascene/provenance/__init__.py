"""Provenance: images that say how they were made, and the means to check it."""
