"""What a session keeps in memory: photos once, masks of the undo steps compressed, and no more than its share."""

import gc
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.evaluation.verdict import Verdict
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio.screens import charts, extraction_job, select_actions
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.state import history as histories
from breakascene.studio.state import packed_mask
from breakascene.studio.state import selection as selections
from breakascene.studio.state import session as session_module
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.selection import SelectedObject, Selection
from breakascene.studio.state.session import SessionStore
from breakascene.training.events import StepEvent

SIZE = (2000, 1500)  # 3 megapixels: 9 MB of a photo, 3 MB of a mask
PHOTO, MASK = 9_000_000, 3_000_000


def photo():
    return Image.new("RGB", SIZE, "gray")


def painted(selection, x):
    return selections.paint(selection, [(x, 300), (x + 400, 1200)], 90, "paint")


def click_often(history, count):
    for i in range(count):
        history.change(painted(history.selection, 15 * i))


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (160, 161)])
def test_a_packed_mask_is_the_mask(shape):
    mask = np.random.default_rng(1).random(shape) < 0.5
    again = packed_mask.unpack(packed_mask.pack(mask))
    assert again.dtype == bool and again.shape == shape and (again == mask).all()


def test_a_hundred_steps_take_less_than_the_photo(tmp_path):
    gc.collect()
    tracemalloc.start()
    history = SelectionHistory(tmp_path)
    history.start_over(Selection(photo()))
    click_often(history, histories.UNDO_DEPTH + 20)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(history.past) == histories.UNDO_DEPTH
    assert PHOTO + MASK < history.nbytes < PHOTO + MASK + 2_000_000
    assert taken < MASK + 3_000_000  # NumPy's and Python's memory; the pixels of a photo are Pillow's own


def test_undo_and_redo_bring_the_masks_back(tmp_path):
    sample = load_scene(samples()[0])
    ys, xs = np.nonzero(sample.concepts[0].mask)
    history = SelectionHistory(tmp_path)
    history.start_over(Selection(sample.photo))
    clicked = selections.click(history.selection, Segmenter.load("toybox"), int(xs.mean()), int(ys.mean()), "include")
    added = selections.add_object(clicked, SelectedObject("two", mask=sample.concepts[1].mask))
    steps = [clicked, added, selections.paint(added, [(5, 5), (25, 5)], 8, "paint"), selections.remove_object(added, 0)]
    for step in steps:
        history.change(step)

    def same(selection, other):
        masks, others = selections.masks_of(selection), selections.masks_of(other)
        return (
            selection.photo is other.photo
            and [replace(o, mask=None, initial_mask=None) for o in selection.objects]
            == [replace(o, mask=None, initial_mask=None) for o in other.objects]
            and all(mask.dtype == bool and (mask == old).all() for mask, old in zip(masks, others, strict=True))
        )

    for _ in range(2):
        for step in steps[-2::-1]:
            history.undo()
            assert same(history.selection, step)
        for step in steps[1:]:
            history.redo()
            assert same(history.selection, step)
    history.undo()
    history.undo()
    mask = history.selection.objects[0].mask
    history.undo()
    assert history.selection.objects[0].mask is mask  # what did not change is not unpacked again
    history.change(steps[0])
    with pytest.raises(UserError, match="nothing to redo"):
        history.redo()


def test_only_the_last_of_the_replaced_photos_is_kept_and_the_first_to_go(tmp_path):
    history = SelectionHistory(tmp_path)
    for _ in range(5):
        history.start_over(Selection(photo()))
        click_often(history, 3)
    assert 2 * PHOTO < history.nbytes < 2 * PHOTO + MASK + 500_000
    assert history.drop_oldest() and len(history.past) == 3
    assert history.nbytes < PHOTO + MASK + 500_000
    last = history.selection
    history.start_over(Selection())
    assert PHOTO < history.nbytes < PHOTO + 500_000
    with pytest.raises(UserError, match="nothing to undo"):
        history.undo()
    history.restore()
    assert history.selection.photo is last.photo
    assert (history.selection.active_object.mask == last.active_object.mask).all()
    history.start_over(Selection())
    assert history.drop_oldest() and history.nbytes == 0 and not history.drop_oldest()


def test_proposals_are_kept_compressed(tmp_path):
    session = SessionStore(tmp_path).open(None)
    session.folder.mkdir()
    masks = [np.zeros(SIZE[::-1], bool) for _ in range(10)]
    for i, mask in enumerate(masks):
        mask[100 * i : 100 * i + 90, 200:900] = True
    session.history.start_over(Selection(photo()))
    session.history.propose(masks)
    assert session.history.nbytes < PHOTO + 200_000
    select_actions.accept_proposal(session, 3)
    assert (session.history.selection.active_object.mask == masks[3]).all()


def test_the_photo_that_is_edited_counts_and_its_steps_are_dropped_too(tmp_path):
    session = SessionStore(tmp_path, visitor_bytes=PHOTO + 2 * MASK).open(None)
    photo().save(tmp_path / "photo.png")
    session.editor.open(tmp_path / "photo.png")
    with pytest.raises(UserError, match="mark the region"):
        session.editor.region()
    history, rng = session.editor.history, np.random.default_rng(2)
    for _ in range(20):
        mask = rng.random(SIZE[::-1]) < 0.5
        history.change(history.selection.with_active(SelectedObject(mask=mask)))
    assert session.nbytes == history.nbytes <= PHOTO + 2 * MASK and 0 < len(history.past) < 20
    assert session.editor.region() is mask
    with pytest.raises(UserError):
        session.history.start_over(Selection(photo()))  # no room for two
    session.editor.open(tmp_path / "photo.png")
    assert history.nbytes == PHOTO and session.editor.history.past == []
    session.editor.close()
    assert session.nbytes == 0 and session.editor.file is None
    session.editor.delete_others()
    assert not list(session.editor.folder.glob("photo-*"))


def test_a_session_keeps_the_images_of_an_extraction_at_the_size_of_their_display():
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (700, 1024, 3), np.uint8))
    event = StepEvent(1, 1, 2, {}, {}, 1.0, 1.0, ("<asset0>",), previews={"<asset0>": noise})
    small = extraction_job.with_small_previews(event).previews["<asset0>"]
    verdict = extraction_job.with_small_images(Verdict("owl", noise.convert("RGBA"), [noise] * 4, None))
    assert {image.size for image in (small, verdict.cutout, *verdict.images)} == {(160, 109)}
    assert charts.inline_image(small, "") == charts.inline_image(noise, "")
    assert extraction_job.with_small_previews(replace(event, previews=None)).previews is None


def test_a_visitor_at_the_ceiling_loses_the_oldest_steps_then_is_refused(tmp_path):
    history = SessionStore(tmp_path, visitor_bytes=PHOTO + 2 * MASK).open(None).history
    history.start_over(Selection(photo()))
    rng = np.random.default_rng(2)
    for _ in range(20):  # noise cannot be compressed: 375 kB a step
        mask = rng.random(SIZE[::-1]) < 0.5
        history.change(history.selection.with_active(SelectedObject(mask=mask)))
        assert history.nbytes <= PHOTO + 2 * MASK
    assert 4 < len(history.past) < 10
    history.undo()
    before = history.selection, list(history.past), list(history.future), history.nbytes
    wide = Selection(Image.new("RGB", (3000, 2000)))
    with pytest.raises(UserError, match=r"more memory than each visitor may use here \(14 MB\): use a smaller photo"):
        history.start_over(wide)
    after = history.selection, history.past, history.future, history.nbytes
    assert after[0] is before[0] and after[1:] == before[1:]  # nothing is lost by the refusal


def test_at_the_ceiling_of_all_undo_steps_go_first_then_idle_sessions(tmp_path, monkeypatch):
    store = SessionStore(tmp_path, all_bytes=3 * (PHOTO + MASK))
    sessions = [store.open(None) for _ in range(4)]
    for i, session in enumerate(sessions[:3]):
        session.last_used -= 100 * (3 - i)
    for session in sessions[:2]:
        session.history.start_over(Selection(photo()))
        click_often(session.history, 6)
    store.all_bytes += (sessions[0].history.nbytes - PHOTO - MASK) * 3 // 2  # the steps of one and a half sessions
    sessions[2].history.start_over(Selection(photo()))
    click_often(sessions[2].history, 2)  # steps of the one that was unused for longest go
    assert [len(session.history.past) for session in sessions[1:3]] == [6, 2] and len(sessions[0].history.past) < 6
    assert selections.masks_of(sessions[0].history.selection)
    with pytest.raises(UserError, match="try again in a few minutes"):
        sessions[3].history.start_over(Selection(photo()))
    assert sessions[3].history.selection.photo is None and sessions[0].token in store._sessions
    monkeypatch.setattr(session_module, "IDLE_SECONDS", 250)  # sessions[0] only
    held, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(sessions[0].lock, held, done))
    thread.start()
    assert held.wait(20)
    with pytest.raises(UserError, match="many visitors"):  # an event of the idle one is being handled
        sessions[3].history.start_over(Selection(photo()))
    done.set()
    thread.join()
    sessions[3].history.start_over(Selection(photo()))
    with pytest.raises(UserError, match="reload this page"):
        store.get(sessions[0].token)
    assert store.get(sessions[1].token) is sessions[1]


def hold(lock, held, done):
    with lock:
        held.set()
        done.wait(20)


def test_page_loads_alone_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "MAX_OPEN", 3)
    store = SessionStore(tmp_path)
    sessions = [store.open(None) for _ in range(3)]
    sessions[0].last_used += 10
    for _ in range(2):
        store.open(None)
    assert len(store._sessions) == 3 and store.get(sessions[0].token) is sessions[0]
