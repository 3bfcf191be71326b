"""A run that is killed at any moment, without a chance to clean up, resumes to the same end."""

import json
import random

import torch
from helpers.processes import FORKSERVER
from safetensors import safe_open

from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.training import checkpoint
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

KILLS = 20


def train(folder, scene, out, steps):
    """The work of each process: start a run, or resume a killed one; releases `steps` after each step."""
    torch.set_num_threads(1)  # the machine runs other tests as well
    base = load_base(folder)
    settings = preset("light", base, steps=(8, 8), train_batch_size=1, num_prior_images=2, composition_prob=0.0)
    resume = checkpoint.path_for(out).exists()
    run_extraction(scene, base, settings, out, lambda event: steps.release(), resume=resume, save_every=1)


def phase_of(path):
    """The phase of a checkpoint, 0 if there is none yet; an existing one must be complete."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["checkpoint"])["phase"]


def test_a_run_killed_20_times_ends_like_an_uninterrupted_one(tiny_folder, scene, tmp_path):
    rng = random.Random(0)
    ended, killed_in, out = 0, [], None
    while len(killed_in) < KILLS or checkpoint.path_for(out).exists():
        out, steps = tmp_path / f"run-{ended}", FORKSERVER.Semaphore(0)
        process = FORKSERVER.Process(target=train, args=(tiny_folder, scene, out, steps))
        process.start()
        if len(killed_in) < KILLS:
            # Wait for steps, then for time: on a slow machine time alone would always end during the start.
            for _ in range(rng.randrange(4)):
                while process.is_alive() and not steps.acquire(timeout=0.1):
                    pass
            process.join(rng.uniform(0.0, 0.1))
        else:
            process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
            killed_in.append(phase_of(checkpoint.path_for(out)))
        else:
            assert process.exitcode == 0 and not checkpoint.path_for(out).exists()
            ended += 1
    assert {1, 2} <= set(killed_in)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"run-{i}" for i in range(ended)
    ]  # and no partial files
    uninterrupted, steps = tmp_path / "uninterrupted", FORKSERVER.Semaphore(0)
    process = FORKSERVER.Process(target=train, args=(tiny_folder, scene, uninterrupted, steps))
    process.start()
    process.join(120)
    first = Concepts.load(uninterrupted)
    for i in range(ended):
        run = tmp_path / f"run-{i}"
        other = Concepts.load(run)
        assert other.losses == first.losses and other.embeddings.equal(first.embeddings)
        assert other.delta.keys() == first.delta.keys()
        assert all(first.delta[name].equal(value) for name, value in other.delta.items())
