"""Many clients at one studio: python -m benchmarks.soak [--clients 50] [--minutes 10]

Starts a studio on a small base with random weights and lets clients segment, extract and generate in random order, each
in a session of its own. Prints the 95th percentile of the seconds of each action, what was refused (the queue has
limits), every other error, and the memory of the studio, which must stay within 5 % after the first two minutes.
"""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

START_SECONDS = 300
SETTLED = 120  # seconds until the memory counts
GROWTH = 0.05  # of the memory after that
REFUSALS = ("waiting", "queue", "busy", "running")  # words of the sentences by which the studio limits its queue


class Client(threading.Thread):
    """A visitor: segments, extracts and generates until `end`."""

    def __init__(self, number: int, address: str, folder: Path, end: float, results: "Results"):
        super().__init__(daemon=True)
        self.rng, self.run_id = random.Random(number), None
        self.address, self.folder, self.end, self.results = address, folder, end, results

    def run(self) -> None:
        from gradio_client import Client as Connection
        from gradio_client import handle_file

        photo, mask = (handle_file(str(self.folder / name)) for name in ("photo.png", "ball.png"))
        connection = None
        while time.monotonic() < self.end:
            action = self.rng.choice(("connect", "segment", "segment", "segment", "extract", "generate", "generate"))
            if connection is None or (action == "connect" and self.rng.random() < 0.3):
                action, self.run_id = "connect", None
            elif action == "connect" or (action == "generate" and self.run_id is None):
                action = "segment"
            started = time.monotonic()
            try:
                if action == "connect":
                    connection = Connection(self.address, verbose=False)
                elif action == "segment":
                    points = [[self.rng.randrange(96), self.rng.randrange(96), 1]]
                    connection.predict(photo, points, None, api_name="/segment")
                elif action == "extract":
                    job = connection.submit(photo, [mask], ["ball"], False, "quick", [2, 2], 0, api_name="/extract")
                    self.run_id = job.result()["run"]
                else:
                    options = ("a photo of <asset0>", 1, self.rng.randrange(99), 2, 1.5, "", "square")
                    connection.submit(self.run_id, *options, api_name="/generate").result()
            except Exception as error:  # whatever goes wrong is counted and shown
                self.results.add_error(action, str(error))
            else:
                self.results.add(action, time.monotonic() - started)
            time.sleep(self.rng.uniform(0, 1))


class Results:
    """Seconds of each action, refusals and errors of all clients, and the memory of the studio over time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.refused, self.errors = Counter(), Counter()
        self.memory: list[tuple[float, int]] = []  # seconds since the start, bytes

    def add(self, action: str, seconds: float) -> None:
        with self.lock:
            self.seconds[action].append(seconds)

    def add_error(self, action: str, text: str) -> None:
        with self.lock:
            refused = any(word in text.lower() for word in REFUSALS)
            (self.refused if refused else self.errors)[f"{action}: {text[:160]}"] += 1

    def growth(self) -> float | None:
        """Growth of the memory from the first to the last quarter after SETTLED seconds; None in a shorter run."""
        values = [memory for seconds, memory in self.memory if seconds > SETTLED]
        quarter = len(values) // 4
        return float(np.mean(values[-quarter:]) / np.mean(values[:quarter])) - 1 if quarter else None


def start_studio(folder: Path, port: int) -> subprocess.Popen:
    """Start a studio on a small base, with its log in the folder, and wait until it listens."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "BREAKASCENE_DATA": str(folder / "data"), "BREAKASCENE_CACHE": str(folder / "cache")}
    arguments = f"-m breakascene studio --port {port} --base {folder / 'base'}".split()
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdout=log, stderr=log, env={**environment, "PYTHONPATH": root}
        )
    deadline = time.monotonic() + START_SECONDS
    while f":{port}" not in (folder / "log.txt").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((folder / "log.txt").read_text())
        time.sleep(0.2)
    return process


def soak(clients: int, seconds: float, port: int, folder: Path) -> Results:
    """Let the clients act for `seconds`."""
    from benchmarks.fuzzing.inputs import save_base, scene
    from breakascene.data.scene import save_scene

    save_base(folder / "base")
    save_scene(scene(), folder / "scene")
    (folder / "scene" / "img.png").rename(folder / "photo.png")
    (folder / "scene" / "mask0.png").rename(folder / "ball.png")
    studio, results = start_studio(folder, port), Results()
    try:
        process, started = psutil.Process(studio.pid), time.monotonic()
        address = f"http://127.0.0.1:{port}"
        threads = [Client(number, address, folder, started + seconds, results) for number in range(clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and time.monotonic() < started + seconds + 300:
            results.memory.append((time.monotonic() - started, process.memory_info().rss))
            time.sleep(1)
        if studio.poll() is not None:
            results.add_error("studio", f"ended with exit status {studio.returncode}")
        log = (folder / "log.txt").read_text()
        results.errors["studio: traceback in its log"] += log.count("Traceback")
    finally:
        studio.terminate()
        studio.wait()
    return results


def main(
    clients: Annotated[int, typer.Option(min=1, help="Number of clients.")] = 50,
    minutes: Annotated[float, typer.Option(min=0, help="Duration.")] = 10,
    port: Annotated[int, typer.Option(help="Port of the studio.")] = 17860,
):
    with tempfile.TemporaryDirectory(prefix="breakascene-soak-") as folder:
        results = soak(clients, minutes * 60, port, Path(folder).resolve())
    print(f"{'action':<10} {'count':>6} {'median':>8} {'p95':>8}")
    for action, seconds in sorted(results.seconds.items()):
        print(f"{action:<10} {len(seconds):>6} {np.median(seconds):>6.1f} s {np.percentile(seconds, 95):>6.1f} s")
    for name, counter in (("refused", results.refused), ("errors", +results.errors)):
        print(f"{name}: {sum(counter.values())}")
        for text, count in counter.most_common(10):
            print(f"  {count} × {text}")
    step = max(1, len(results.memory) // 10)
    print("memory: " + ", ".join(f"{s / 60:.1f} min {m / 1e6:.0f} MB" for s, m in results.memory[::step]))
    growth = results.growth()
    if growth is None:
        print(f"Shorter than {SETTLED} s: no verdict on the memory.")
    else:
        print(f"Memory after the first {SETTLED} s: {growth:+.1%}.")
    raise SystemExit(bool(+results.errors) or (growth is not None and growth > GROWTH))


if __name__ == "__main__":
    typer.run(main)
