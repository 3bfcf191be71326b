"""The studio: the chain as three steps in the browser. The only package that imports gradio."""

import os

from breakascene.studio.folders import upload_settings

# Before gradio is imported: no usage is reported, and uploads go to a folder that can be written
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.update(upload_settings())

from breakascene.studio.app import build, launch

__all__ = ["build", "launch"]
