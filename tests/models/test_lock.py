"""Threads that share a base: generation, extraction and imports, at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.models import assert_same_base, weights_of
from helpers.runs import short

from breakascene.errors import UserError
from breakascene.exporting.archive import pack, unpack
from breakascene.generation.generate import generate
from breakascene.training.loop import extract, run_extraction


@pytest.fixture(scope="module")
def concepts(tiny_base, scene):
    settings = short(tiny_base, steps=(1, 2), weight_lr=0.05)  # a delta that shows in the images
    return [
        run_extraction(scene, tiny_base, settings),
        run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 1))),
    ]


def images(base, concepts):
    generated = generate(base, concepts, "a photo of <asset0>", count=2, num_inference_steps=2, batch_size=1)
    return [np.asarray(one.image) for one in generated]


def assert_equal(one, two):
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_threads_that_generate_on_one_base_get_the_images_they_get_alone(tiny_base, concepts):
    before, alone = weights_of(tiny_base), [images(tiny_base, one) for one in concepts]
    assert not np.array_equal(alone[0][0], alone[1][0])
    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(lambda i: images(tiny_base, concepts[i % 2]), range(8))):
            assert_equal(found, alone[index % 2])
    assert_same_base(tiny_base, before)


def test_generation_waits_for_an_extraction_in_another_thread(tiny_base, scene, concepts):
    before, alone = weights_of(tiny_base), images(tiny_base, concepts[0])
    events = extract(scene, tiny_base, short(tiny_base))
    next(events)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(images, tiny_base, concepts[0])
        pool.submit(next, events).result()  # another thread may resume the generator
        assert not waiting.done()
        events.close()
        assert_equal(waiting.result(60), alone)
    assert_same_base(tiny_base, before)


def test_an_abandoned_extraction_releases_the_base_from_any_thread(tiny_base, scene, concepts):
    before = weights_of(tiny_base)
    for event in extract(scene, tiny_base, short(tiny_base)):
        assert event.step == 1
        break
    events = extract(scene, tiny_base, short(tiny_base))
    next(events)
    thread = threading.Thread(target=events.close)
    thread.start()
    thread.join()
    assert_same_base(tiny_base, before)
    assert len(images(tiny_base, concepts[0])) == 2


def test_using_the_base_between_the_steps_of_ones_own_extraction_is_refused(tiny_base, scene, concepts):
    events = extract(scene, tiny_base, short(tiny_base))
    next(events)
    with pytest.raises(UserError, match="finish or close it"):
        images(tiny_base, concepts[0])
    with pytest.raises(UserError, match="finish or close it"):
        next(extract(scene, tiny_base, short(tiny_base)))
    with pytest.raises(UserError, match="finish or close it"), concepts[0].applied(tiny_base):
        pass
    assert next(events).step == 2  # it continues
    events.close()
    with concepts[0].applied(tiny_base), pytest.raises(UserError, match="finish or close it"):
        next(extract(scene, tiny_base, short(tiny_base)))


def test_a_run_file_is_imported_while_the_weights_are_trained(tiny_base, scene, tmp_path):
    run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 1)), tmp_path / "run")
    pack(tmp_path / "run", tmp_path / "run.zip")
    events = extract(scene, tiny_base, short(tiny_base))
    while next(events).phase == 1:
        pass
    imported = unpack(tmp_path / "run.zip", tiny_base, tmp_path / "imported")
    events.close()
    with imported.applied(tiny_base):
        pass
