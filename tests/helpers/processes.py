"""Processes that start at once: forks of a server that has imported the package, which takes ten seconds."""

import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["breakascene.studio", "breakascene.evaluation.advice", "breakascene.training.groups"]
)


def run_command(*arguments: str) -> None:
    """Run the command line as `python -m breakascene` does."""
    from breakascene.cli.app import app

    sys.argv = ["breakascene", *arguments]
    app(prog_name="python -m breakascene")


def run_app(*arguments: str) -> None:
    """Run app.py with frequent checkpoints, few images (see conftest.py) and a short comparison at the end."""
    from breakascene.evaluation import verdict
    from breakascene.studio import engine
    from breakascene.training import augment, settings
    from helpers.runs import with_few_prior_images

    settings.PRESETS.update(with_few_prior_images())
    engine.SAVE_EVERY, augment.NUM_COMPOSITIONS = 10, 4
    verdict.IMAGES, verdict.NUM_INFERENCE_STEPS = 1, 2
    sys.argv = ["app.py", *arguments]
    runpy.run_path("app.py", run_name="__main__")


def _run(function: Callable, arguments: tuple, cwd: Path, env: dict, outputs: tuple, file_size: int | None) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, (output, stream) in enumerate(zip(outputs, ("stdout", "stderr"), strict=True), 1):
        os.dup2(output.fileno(), number)
        setattr(sys, stream, os.fdopen(number, "w", buffering=1, closefd=False))
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    function(*arguments)


def _logged(log: Path, function: Callable, *arguments: object) -> None:
    with open(log, "ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    function(*arguments)


class Process:
    """A process that calls a function, with the attributes and methods of subprocess.Popen.

    Args:
        function: Of a module that the process can import.
        arguments: Of the function.
        cwd: Its working directory.
        env: Its environment.
        file_size: The largest file that it can write, in bytes.
        log: A file for its output, instead of `stdout` and `stderr`.
    """

    def __init__(
        self,
        function: Callable,
        *arguments: object,
        cwd: Path,
        env: Mapping[str, str] = os.environ,
        file_size: int | None = None,
        log: Path | None = None,
    ):
        if log:
            function, arguments = _logged, (log, function, *arguments)
        pipes = [FORKSERVER.Pipe(duplex=False) for _ in range(2)]
        work = function, arguments, cwd, dict(env), tuple(writer for _, writer in pipes), file_size
        self._process = FORKSERVER.Process(target=_run, args=work, daemon=True)
        self._process.start()
        self.pid = self._process.pid
        for _, writer in pipes:
            writer.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(reader.fileno())) for reader, _ in pipes)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("python", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
