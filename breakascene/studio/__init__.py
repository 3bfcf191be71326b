"""The studio: the chain as three steps in the browser. The only package that imports gradio."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: no usage is reported

from breakascene.studio.app import build, launch

__all__ = ["build", "launch"]
