"""A run that is killed at any moment, with no time to tidy up, goes on to the same end."""

import multiprocessing
import random

import torch

from breakascene import checkpoint
from breakascene.base import load_base
from breakascene.concepts import Concepts
from breakascene.extract import preset, run_extraction

KILLS = 20
FRESH = multiprocessing.get_context("forkserver")


def learn(folder, scene, out, begun):
    """What each process does: begin, or go on where a killed one was."""
    torch.set_num_threads(1)  # the machine is busy enough
    base = load_base(folder)
    settings = preset("light", base, steps=(12, 12), batch=1, prior_count=2, arranged=0.0)
    resume = checkpoint.path_for(out).exists()
    begun.set()
    run_extraction(scene, base, settings, out, resume=resume, save_every=1)


def test_a_run_killed_20_times_ends_like_one_that_was_not(tiny_folder, scene, tmp_path):
    FRESH.set_forkserver_preload(["breakascene.extract"])  # so that a process begins at once
    chance = random.Random(0)
    kills = ended = 0
    while kills < KILLS or not ended:
        out = tmp_path / f"run-{ended}"
        begun = FRESH.Event()
        process = FRESH.Process(target=learn, args=(tiny_folder, scene, out, begun))
        process.start()
        assert begun.wait(60)
        if kills < KILLS:
            process.join(chance.uniform(0.0, 0.5))
        else:
            process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0 and not checkpoint.path_for(out).exists()
            ended += 1
    whole, begun = tmp_path / "whole", FRESH.Event()
    process = FRESH.Process(target=learn, args=(tiny_folder, scene, whole, begun))
    process.start()
    process.join(60)
    first = Concepts.load(whole)
    for i in range(ended):
        run = tmp_path / f"run-{i}"
        other = Concepts.load(run)
        assert other.losses == first.losses and other.embeddings.equal(first.embeddings)
        assert other.change.keys() == first.change.keys()
        assert all(first.change[name].equal(value) for name, value in other.change.items())
