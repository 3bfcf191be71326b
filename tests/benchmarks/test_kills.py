"""One kill of an extraction by the command line. More of them: python -m benchmarks.kills"""

import subprocess
from pathlib import Path
from types import SimpleNamespace

from helpers.processes import Process, run_command

from benchmarks import kills


def start(command, cwd, env, stdout, stderr):
    """Start a command, as Popen does, in a process that has imported the package."""
    assert command[1:3] == ["-m", "breakascene"] and stdout is stderr
    return Process(run_command, *command[3:], cwd=cwd, env=env, log=Path(stdout.name))


def test_a_killed_extraction_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "subprocess", SimpleNamespace(Popen=start, TimeoutExpired=subprocess.TimeoutExpired))
    left, runs = kills.run(kills=1, seed=1, steps="100,30", folder=tmp_path)
    assert left == [100] and runs >= 1
