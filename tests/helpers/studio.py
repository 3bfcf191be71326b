"""A studio for the tests: the real app on a free port, its data in a folder of its own."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakascene.studio import launch


@contextmanager
def running_studio(data: Path, **options) -> Iterator[str]:
    """Serve the studio on the default base (the toybox, unless BREAKASCENE_BASE is set) and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = os.environ.get("BREAKASCENE_DATA")
    os.environ["BREAKASCENE_DATA"] = str(data)
    try:
        demo = launch(port=port, wait=False, **options)
    finally:
        os.environ.pop("BREAKASCENE_DATA")
        if before is not None:
            os.environ["BREAKASCENE_DATA"] = before
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        demo.close()
        demo.job_queue.close()
