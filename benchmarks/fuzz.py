"""Fuzz every reader of files and every option of the command line: python -m benchmarks.fuzz [--cases 2000] [--seed 0]

Each case is a valid input that was changed deep inside. It must be accepted, and then be usable, or be refused with one
sentence, and leave no files behind. The cases run in a process of their own, which is started again when it crashes or
hangs, and each depends on its target, its number and the seed alone.
"""

import faulthandler
import multiprocessing
import os
import resource
import shutil
import tempfile
import traceback
import warnings
from collections import Counter, defaultdict
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from breakascene.errors import UserError

ACCEPTED, REFUSED, READY = "accepted", "refused", "ready"
KINDS = (ACCEPTED, REFUSED, "traceback", "crash", "hang", "leftovers", "no sentence", "memory")
TIMEOUT = 60  # seconds of one case
START_SECONDS = 300  # for the process to import the packages, on a busy machine
MAX_ADDRESSES = 16_000_000_000  # bytes that the process may map; PyTorch alone maps four billion
MAX_GROWTH = 1_500_000_000  # bytes of memory that one case may add to the largest use so far
MAX_SENTENCE = 600  # characters
COMMANDS_SHARE = 0.3  # of the cases that call commands; the readers share the others evenly
LEFTOVERS = (".part", ".lock", ".old", ".tmp")


@dataclass(frozen=True)
class Outcome:
    """What one case came to: ACCEPTED, REFUSED, or the kind of a finding with its details."""

    kind: str
    first_check: bool = False  # whether the input passed the first check of its reader
    details: str = ""


def names() -> list[str]:
    """Return the names of all targets."""
    from benchmarks.fuzzing.readers import READERS

    return [*READERS, "command"]


def run_case(target: str, seed: int, number: int, inputs: Path, folder: Path) -> Outcome:
    """Run one case in an empty folder."""
    from benchmarks.fuzzing.commands import Refused, command
    from benchmarks.fuzzing.readers import READERS

    work, temporary = folder / "work", folder / "tmp"
    work.mkdir(), temporary.mkdir()
    tempfile.tempdir = str(temporary)
    case = {**READERS, "command": command}[target](Random(f"{target} {seed} {number}"), inputs, work)
    first_check = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first_check = bool(case.passes_first_check())
    except Exception:
        pass
    before, memory = listing(work), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kind, details = ACCEPTED, ""
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            case.act()
    except (UserError, Refused, *case.refusals) as error:
        kind, text = REFUSED, str(error).strip()
        if not text or "\n" in text or len(text) > MAX_SENTENCE:
            kind, details = "no sentence", repr(text[:300])
    except BaseException as error:
        kind, details = "traceback", _describe(error)
    left = sorted(listing(work) - before) if kind != ACCEPTED else []
    left += [name for name in listing(work) - before if name.endswith(LEFTOVERS)] + sorted(listing(temporary))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    if kind in (ACCEPTED, REFUSED) and left:
        kind, details = "leftovers", ", ".join(left[:5])
    elif kind in (ACCEPTED, REFUSED) and grown > MAX_GROWTH:
        kind, details = "memory", f"{grown / 1e9:.1f} GB"
    if kind not in (ACCEPTED, REFUSED) and target == "command":
        details += f" in {case.act!r:.300}"
    return Outcome(kind, first_check, details.encode("utf-8", "backslashreplace").decode())


def listing(folder: Path) -> set[str]:
    """Return the relative paths of everything in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _describe(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "breakascene/" in frame.filename] or frames
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno} → {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return f"{type(error).__name__} at {where}: {str(error)[:200]!r}"


def worker(connection, inputs: Path, cache: Path) -> None:
    """Run the cases that arrive, (target, seed, number), each in a new folder; send READY, then their Outcomes."""
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1), os.dup2(nowhere, 2)  # the libraries report each odd file there
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    os.environ.update(BREAKASCENE_CACHE=str(cache), HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    import torch

    from benchmarks.fuzzing import commands, readers  # noqa: F401

    torch.set_num_threads(1)
    connection.send(READY)
    while True:
        target, seed, number, folder = connection.recv()
        folder.mkdir()
        connection.send(run_case(target, seed, number, inputs, folder))
        shutil.rmtree(folder, ignore_errors=True)


class Workshop:
    """A process that runs cases, and the folder with its inputs."""

    def __init__(self, folder: Path):
        self.folder, self.inputs = folder, folder / "inputs"
        self.context = multiprocessing.get_context("spawn")
        self.process = None
        (folder / "cases").mkdir()

    def start(self) -> None:
        """Start the process if there is none."""
        if self.process is None:
            self.connection, other = self.context.Pipe()
            self.process = self.context.Process(target=worker, args=(other, self.inputs, self.folder / "cache"))
            self.process.start()
            other.close()
            if not self.connection.poll(START_SECONDS) or self.connection.recv() != READY:
                raise SystemExit(f"The process of the cases did not start within {START_SECONDS} s.")

    def run(self, target: str, seed: int, number: int) -> Outcome:
        """Run a case; a crash or a hang of the process is an outcome too."""
        self.start()
        try:
            self.connection.send((target, seed, number, self.folder / "cases" / f"{target}-{number}"))
            if self.connection.poll(TIMEOUT):
                return self.connection.recv()
            outcome = Outcome("hang", details=f"more than {TIMEOUT} s")
        except (EOFError, OSError):
            self.process.join()
            outcome = Outcome("crash", details=f"exit status {self.process.exitcode}")
        self.close()
        return outcome

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.join()
            self.process = None


def plan(cases: int, targets: list[str]) -> list[tuple[str, int]]:
    """Return (target, number) of all cases; a large share of them are commands, which have many options."""
    readers = [target for target in targets if target != "command"]
    commands = round(cases * COMMANDS_SHARE) if readers and "command" in targets else cases if not readers else 0
    counts = Counter({"command": commands}) + Counter(readers[i % len(readers)] for i in range(cases - commands))
    return [(target, number) for target in targets for number in range(counts[target])]


def fuzz(cases: int, seed: int, targets: list[str] | None = None) -> dict[str, list[tuple[int, Outcome]]]:
    """Run the cases; return the number and outcome of each by target."""
    from benchmarks.fuzzing.inputs import make_inputs

    outcomes = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="breakascene-fuzz-") as folder:
        workshop = Workshop(Path(folder).resolve())
        workshop.inputs.mkdir()
        kept, os.environ["BREAKASCENE_CACHE"] = os.environ.get("BREAKASCENE_CACHE"), f"{folder}/cache"
        try:
            make_inputs(workshop.inputs)
            for target, number in plan(cases, targets or names()):
                outcomes[target].append((number, workshop.run(target, seed, number)))
        finally:
            workshop.close()
            del os.environ["BREAKASCENE_CACHE"]
            if kept is not None:
                os.environ["BREAKASCENE_CACHE"] = kept
    return dict(outcomes)


def findings(outcomes: dict[str, list[tuple[int, Outcome]]]) -> list[str]:
    """Return one line for each kind of finding of a target, with its count and its first case."""
    kinds = defaultdict(list)
    for target, results in outcomes.items():
        for number, outcome in results:
            if outcome.kind not in (ACCEPTED, REFUSED):
                kinds[target, outcome.kind, outcome.details.partition(": ")[0]].append((number, outcome.details))
    return [
        f"{target}, case {numbers[0][0]} ({len(numbers)}×): {kind}: {numbers[0][1]}"
        for (target, kind, _), numbers in kinds.items()
    ]


def main(
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cases.")] = 0,
    target: Annotated[list[str] | None, typer.Option(help="Only this target; may be repeated.")] = None,
    only: Annotated[int | None, typer.Option("--case", help="Run this one case here, with its traceback.")] = None,
):
    if unknown := set(target or []) - set(names()):
        raise typer.BadParameter(f"unknown {', '.join(unknown)}: choose from {', '.join(names())}.")
    if only is not None:
        with tempfile.TemporaryDirectory() as folder:
            debug(target[0], seed, only, Path(folder).resolve())
        return
    outcomes = fuzz(cases, seed, target)
    print(table(outcomes))
    found = findings(outcomes)
    print(*found, sep="\n")
    raise SystemExit(bool(found))


def table(outcomes: dict[str, list[tuple[int, Outcome]]]) -> str:
    """Return the number of cases of each target by outcome, and the share that passed the first check."""
    lines = [["target", "cases", "past the first check", *KINDS]]
    total = [("all", [result for results in outcomes.values() for result in results])]
    for name, results in [*outcomes.items(), *total]:
        counts = Counter(outcome.kind for _, outcome in results)
        passed = sum(outcome.first_check for _, outcome in results) / len(results)
        lines.append([name, len(results), f"{passed:.0%}", *(counts[kind] for kind in KINDS)])
    return "\n".join(
        f"{name:<18}" + "".join(f"{value:>{len(title) + 2}}" for title, value in zip(lines[0][1:], values, strict=True))
        for name, *values in lines
    )


def debug(target: str, seed: int, number: int, folder: Path) -> None:
    """Run one case in this process and show its traceback."""
    from benchmarks.fuzzing.commands import command
    from benchmarks.fuzzing.inputs import make_inputs
    from benchmarks.fuzzing.readers import READERS

    inputs, work = folder / "inputs", folder / "work"
    inputs.mkdir(), work.mkdir()
    os.environ["BREAKASCENE_CACHE"] = str(folder / "cache")
    make_inputs(inputs)
    case = {**READERS, "command": command}[target](Random(f"{target} {seed} {number}"), inputs, work)
    print(case.act())


if __name__ == "__main__":
    typer.run(main)
