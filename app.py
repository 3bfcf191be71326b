"""Start the studio, as `python -m breakascene studio` does; the entry point of a Hugging Face Space."""

import os
import sys

from breakascene.cli.app import app

if __name__ == "__main__":
    host = os.environ.get("GRADIO_SERVER_NAME")  # set on a Space
    app(["studio", *(["--host", host] if host else []), *sys.argv[1:]], prog_name="python app.py")
