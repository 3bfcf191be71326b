"""Measurements and their results; each module is a command."""

import breakascene  # noqa: F401  before diffusers, whose import of bitsandbytes it keeps quiet
