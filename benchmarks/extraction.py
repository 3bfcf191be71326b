"""Time by stage and peak memory of extractions, in a Markdown table: python -m benchmarks.extraction --base sd21

`sd15`, `sd21` and `sdxl` are built with random weights in the true shapes, so that nothing is downloaded; other names
are those of load_base. With --reference, a few steps of the authors' public code (benchmarks/reference.py) on the same
base are measured too and extrapolated to its 400 + 400.
"""

import ctypes
import gc
import json
import platform
import tempfile
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Annotated

import psutil
import torch
import typer

from benchmarks.random_base import is_random_base, random_base
from benchmarks.reference import reference
from breakascene.cli.demo import sample_scene
from breakascene.data.scene import Scene
from breakascene.models.base import Base
from breakascene.models.loading import load_base
from breakascene.training.loop import run_extraction
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.prior import BATCH_SIZE, prior_latents
from breakascene.training.settings import Settings, preset

STAGES = ("encode", "phase 1", "phase 2", "save")
WARMUP_STEPS = 2  # of each phase of the reference, not measured
REFERENCE_STEPS = 400  # of each phase in a whole run


class _PeakMemory:
    """Peak memory of a block in bytes: all allocated memory of the GPU, on a CPU the growth of the resident memory."""

    def __init__(self, device: torch.device):
        self.device, self.bytes = device, 0

    def __enter__(self) -> "_PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return self
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # return freed memory to the system first; Linux only
        process = psutil.Process()
        self.start, self.done = process.memory_info().rss, threading.Event()

        def watch() -> None:
            while not self.done.wait(0.02):
                self.bytes = max(self.bytes, process.memory_info().rss - self.start)

        self.thread = threading.Thread(target=watch)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated()
        else:
            self.done.set()
            self.thread.join()


def open_base(name: str) -> Base:
    """Load a base, or build one with random weights."""
    if is_random_base(name):
        return random_base(name, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return load_base(name)


def machine_name(device: torch.device) -> str:
    """The card or CPU, and the date."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    return f"{name}, {torch.get_num_threads()} threads, {date.today().isoformat()}"


def stage_seconds(base: Base, scene: Scene, settings: Settings, out: Path, memory: str) -> dict:
    """Run an extraction; return the seconds of its stages, their total, and the seconds of a step of each phase.

    "encode" is everything before the first step, "save" everything after the last, and between the phases.
    """
    steps, first = {1: [], 2: []}, None
    start = time.perf_counter()

    def note(event) -> None:
        nonlocal first
        steps[event.phase].append(event.seconds)
        if first is None:
            first = time.perf_counter() - start

    concepts = run_extraction(scene, base, settings, out, on_event=note, memory=memory, save_every=0)
    if base.device.type == "cuda":
        torch.cuda.synchronize()
    total = time.perf_counter() - start
    phases = [sum(steps[phase]) for phase in (1, 2)]
    # Events come in groups, and the first event of a group when its last step is done
    group = len([value for value in steps[1] if value == steps[1][0]]) if base.device.type == "cuda" else 1
    encode = max(0.0, first - group * steps[1][0])
    return {
        "encode": encode,
        "phase 1": phases[0],
        "phase 2": phases[1],
        "save": max(0.0, total - encode - sum(phases)),
        "total": total,
        "step 1": median(steps[1]),
        "step 2": median(steps[2]),
        "mode": concepts.memory,
    }


def prior_seconds(base: Base, settings: Settings) -> float:
    """Seconds that the prior images of a preset take without a cache, from one batch of them."""
    start = time.perf_counter()
    prior_latents(base, BATCH_SIZE, [f"{prompt} " for prompt in settings.prior_prompts])  # under a key of its own
    if base.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * settings.num_prior_images / BATCH_SIZE


def reference_row(base: Base, scene: Scene, count: int) -> dict:
    """Measure `count` steps of each phase of the public code; the base changes."""
    settings = preset("paper", base)
    prior = prior_latents(base, BATCH_SIZE)
    with torch.no_grad():
        scaled = prior.latents / base.vae.config.scaling_factor
        prior_images = torch.cat([base.vae.decode(part).sample.clamp(-1, 1) for part in scaled.split(4)])
    with _PeakMemory(base.device) as peak:
        times = reference(base, scene, settings, count, prior_images)
    first, second = (median(seconds[min(WARMUP_STEPS, count - 1) :]) for seconds in times)
    phases = {"phase 1": REFERENCE_STEPS * first, "phase 2": REFERENCE_STEPS * second}
    modules = (*base.trainable_modules.values(), base.vae)  # saved whole
    disk = sum(weight.nbytes for module in modules for weight in module.parameters())
    total = sum(phases.values())
    return {**phases, "total": total, "step 1": first, "step 2": second, "peak": peak.bytes, "disk": disk}


def table(base: Base, rows: dict[str, dict]) -> str:
    """Return a Markdown table."""
    head = ("preset", "mode", "prior once", *STAGES, "total", "step 1", "step 2", "peak", "on disk")
    lines = [" | ".join(head), "---|" * len(head)]
    for name, row in rows.items():
        times = [f"{row[key]:.1f} s" if key in row else "–" for key in ("prior", *STAGES, "total")]
        steps = [f"{1000 * row[key]:.0f} ms" for key in ("step 1", "step 2")]
        sizes = [f"{row['peak'] / 1e9:.2f} GB", f"{row['disk'] / 1e6:.0f} MB"]
        lines.append(" | ".join([name, row.get("mode", "–"), *times, *steps, *sizes]))
    body = "\n".join(f"| {line} |" if "---" not in line else f"|{line}" for line in lines)
    return f"{base.name} on {machine_name(base.device)}:\n\n{body}\n"


def measure(
    base_name: Annotated[str, typer.Option("--base", help="sd15, sd21, sdxl or a base model.")] = "toybox",
    presets: Annotated[list[str], typer.Option("--preset", help="A preset; default: all.")] = PRESET_NAMES,
    count: Annotated[int, typer.Option("--steps", help="Steps of each phase; default: the preset's.")] = 0,
    memory: Annotated[str, typer.Option(help="Memory mode: auto, fast, lean or least.")] = "auto",
    reference_steps: Annotated[int, typer.Option("--reference", help="Steps of the public code, 0 for none.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """Run each preset once, print its row as soon as it is done, and the table at the end."""
    scene, base, rows = sample_scene(), open_base(base_name), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in presets:
            settings = preset(name, base)
            row = {"prior": prior_seconds(base, settings)}
            if count:  # neither changes the time of a step
                settings = replace(settings, steps=(count, count), num_prior_images=BATCH_SIZE)
            prior_latents(base, settings.num_prior_images, settings.prior_prompts)
            with _PeakMemory(base.device) as peak:
                row |= stage_seconds(base, scene, settings, Path(folder) / name, memory)
            disk = sum(file.stat().st_size for file in (Path(folder) / name).rglob("*") if file.is_file())
            rows[name] = {**row, "steps": settings.steps, "peak": peak.bytes, "disk": disk}
            print(f"{name}: {row['total']:.1f} s", flush=True)
    if reference_steps:
        rows["public code"] = reference_row(base, scene, reference_steps)  # last: it changes the base
    print(f"\n{table(base, rows)}", flush=True)
    if json_file:
        values = {"base": base.name, "machine": machine_name(base.device), "rows": rows}
        json_file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(measure)
