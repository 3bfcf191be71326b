"""The studio: the chain as three screens in the browser. The only part of the package that imports gradio."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is reported to anyone

from breakascene.studio.app import build, launch

__all__ = ["build", "launch"]
