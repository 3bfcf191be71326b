"""Starts the studio, as `python -m breakascene studio` does. On a Hugging Face Space this file is the entry point."""

import os
import sys

from breakascene.__main__ import app

if __name__ == "__main__":
    host = os.environ.get("GRADIO_SERVER_NAME")  # set on a Space
    app(["studio", *(["--host", host] if host else []), *sys.argv[1:]], prog_name="python app.py")
