"""A studio for the tests: the real app on a free port, its data in a folder of its own."""

import gc
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from breakascene.models.base import Base
from breakascene.studio import launch, loaded

measure_forward, forward_seconds = loaded._time_forward, {}


def time_forward(base: Base, batch_size: int) -> float:
    """Time the forward passes of a base, which takes two seconds, for its first studio only."""
    key = base.fingerprint, batch_size
    if key not in forward_seconds:
        forward_seconds[key] = measure_forward(base, batch_size)
    return forward_seconds[key]


def free_port() -> int:
    """A free port from a range of this worker's own, below the ports of outgoing connections, so that it stays free."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 20_000 + 2_000 * (worker % 6) + secrets.randbelow(2_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


def add_session(data: Path, run: Path) -> str:
    """Add a session that has a copy of a run to a studio's data folder; return the path of its page."""
    token = secrets.token_urlsafe(18)
    shutil.copytree(run, data / token / "runs" / secrets.token_urlsafe(12))
    return f"/?session={token}"


@contextmanager
def running_studio(data: Path, **options) -> Iterator[str]:
    """Serve the studio on the default base (the toybox, unless BREAKASCENE_BASE is set) and yield its address."""
    port = free_port()
    before = os.environ.get("BREAKASCENE_DATA")
    os.environ["BREAKASCENE_DATA"] = str(data)
    try:
        with patch.object(loaded, "_time_forward", time_forward):
            demo = launch(port=port, wait=False, **options)
    finally:
        os.environ.pop("BREAKASCENE_DATA")
        if before is not None:
            os.environ["BREAKASCENE_DATA"] = before
    gc.collect()
    gc.freeze()  # as a studio that has its process to itself
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        demo.close()
        demo.job_queue.close()
        gc.unfreeze()
        del demo
        gc.collect()
        gc.freeze()  # what was imported, as in conftest.py
