"""Step 1 without a browser: candidates, the brush, the texts about the selection, the names."""

import zipfile
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from breakascene.data.mask_files import FORMATS
from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.segmentation.segmenter import Candidates, Segmenter
from breakascene.studio import strings
from breakascene.studio.screens import select
from breakascene.studio.screens.events import PageContext
from breakascene.studio.screens.select_actions import apply_tool, samples
from breakascene.studio.screens.select_hints import about
from breakascene.studio.state import selection as selections
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.selection import SelectedObject, Selection
from breakascene.studio.state.session import Session, SessionStore


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.load("toybox", "cpu")


@pytest.fixture(scope="module")
def sample():
    return load_scene(samples()[0])


@pytest.fixture
def clicked(sample, segmenter):
    ys, xs = np.nonzero(sample.concepts[1].mask)
    return selections.click(Selection(sample.photo), segmenter, int(xs.mean()), int(ys.mean()), "include")


def test_candidates_go_from_small_to_large_and_end_with_an_error(clicked, segmenter):
    now, sizes = clicked, [clicked.objects[0].mask.sum()]
    for larger, message in ((False, strings.NO_SMALLER), (True, strings.NO_LARGER)):
        for _ in range(3):
            try:
                now = selections.next_candidate(now, segmenter, larger)
            except UserError as error:
                assert error.args[0] == message
                break
            sizes.append(now.objects[0].mask.sum())
            assert (sizes[-1] > sizes[-2]) == larger
        else:
            raise AssertionError("three candidates have no fourth")
    with pytest.raises(UserError, match="click the object first"):
        selections.next_candidate(Selection(clicked.photo), segmenter, True)


def test_rectangles_add_to_a_mask(clicked):
    before = clicked.objects[0].mask
    after = selections.add_rectangle(clicked, (40, 30, 10, 5)).objects[0].mask
    assert after[5:31, 10:41].all() and (after & ~before)[:5].sum() == 0 and (before & ~after).sum() == 0
    with pytest.raises(UserError, match="box is too small"):
        selections.add_rectangle(clicked, (10, 10, 12, 90))


def test_brush_and_eraser_edit_a_mask_that_clicks_then_extend(clicked, segmenter, tmp_path):
    before = clicked.objects[0].mask
    painted = selections.paint(clicked, [(5, 5), (25, 5)], 8, "paint")
    added = painted.objects[0].mask & ~before
    assert added[5, 5:26].all() and added[2, 15] and not added[11, 15] and added.sum() == pytest.approx(21 * 8 + 50, 30)
    assert (painted.objects[0].mask | before == painted.objects[0].mask).all()
    ys, xs = np.nonzero(before)
    rubbed = selections.paint(painted, [(int(xs.mean()), int(ys.mean()))], 12, "erase")
    gone = painted.objects[0].mask & ~rubbed.objects[0].mask
    assert gone.any() and gone.sum() == pytest.approx(np.pi * 36, rel=0.2)
    again = selections.click(rubbed, segmenter, int(xs.mean()), int(ys.mean()), "include")
    assert again.objects[0].mask[5, 15] and again.objects[0].mask[int(ys.mean()), int(xs.mean())]
    history = SelectionHistory(tmp_path, Selection(clicked.photo))
    apply_tool(history, "paint", [(40, 50)])  # a single click, as by coordinates
    dot = history.selection.objects[0].mask
    assert dot[50, 40] and dot.sum() == pytest.approx(np.pi * (0.015 * max(clicked.photo.size)) ** 2, rel=0.4)
    with pytest.raises(UserError, match="nothing to remove yet"):
        selections.paint(Selection(clicked.photo), [(5, 5)], 8, "erase")


def test_sixteen_objects_fit_and_one_more_is_refused(sample):
    selection = Selection(sample.photo)
    for _ in range(15):
        selection = selections.add_object(selection)
    with pytest.raises(UserError, match="up to 16 objects: remove one first"):
        selections.add_object(selection)
    for i, concept in enumerate(sample.concepts):  # proposals go to the objects without a mask
        selection = selections.add_object(selection, SelectedObject(mask=concept.mask))
        assert len(selection.objects) == 16 and selection.active == i
    with pytest.raises(UserError, match="already selected: choose another"):
        selections.add_object(selection, SelectedObject(mask=sample.concepts[0].mask))


class Sized:
    """A sure segmenter whose masks are discs of these radii around the first click, one after the other."""

    def __init__(self, *radii):
        self.radii = list(radii)

    def predict(self, points, labels, box, photo):
        y, x = np.mgrid[: photo.height, : photo.width]
        (cx, cy), *_ = points
        mask = (x - cx) ** 2 + (y - cy) ** 2 < self.radii.pop(0) ** 2
        return Candidates(np.stack([mask - 0.5] * 3), np.full(3, 0.9), photo.size)


@pytest.mark.parametrize(
    ("radii", "clicks", "struggles"),
    [
        ((30, 31, 32, 33, 34), "+++++", False),
        ((30, 31, 32, 33, 30), "+++++", True),  # the fifth click was to add and took away
        ((30, 31, 32, 33, 40), "++++-", True),  # and the other way round
        ((30, 31, 32, 33, 20), "++++-", False),
        ((40, 20, 40, 20), "++++", False),  # a few clicks are no struggle
        ((30, 30, 30, 30, 30), "++++-", False),  # nor is one that has no effect
        ((30, 30, 30, 30, 30, 30), "++++--", True),
    ],
)
def test_after_five_clicks_the_studio_sees_when_they_make_the_mask_worse(sample, radii, clicks, struggles):
    segmenter, selection = Sized(*radii), Selection(sample.photo)
    for i, sign in enumerate(clicks):
        x = 100 + (25 if sign == "-" else i)
        selection = selections.click(selection, segmenter, x, 100, "include" if sign == "+" else "exclude")
    assert selection.active_object.struggles == struggles


def test_a_good_mask_is_no_struggle_and_a_bad_one_is(sample, segmenter):
    rng = np.random.default_rng(0)
    for concept in sample.concepts:
        selection = Selection(sample.photo)
        for y, x in rng.permutation(np.argwhere(concept.mask))[:7]:
            selection = selections.click(selection, segmenter, int(x), int(y), "include")
        mask = selection.active_object.mask
        assert (mask & concept.mask).sum() > 0.8 * (mask | concept.mask).sum()
        assert not selection.active_object.struggles
    selection = Selection(Image.effect_noise((256, 256), 60).convert("RGB"))  # without any object
    for x, y in rng.integers(20, 236, (6, 2)):
        selection = selections.click(selection, segmenter, int(x), int(y), "include")
    assert selection.active_object.struggles


def test_the_text_about_the_selection(sample):
    assert about(Selection(sample.photo)) == ""
    whole, speck = sample.concepts[0].mask, np.zeros_like(sample.concepts[0].mask)
    speck[10:14, 10:14] = True
    objects = (
        SelectedObject("a <toy>", mask=whole),
        SelectedObject("ball", mask=whole | speck),
        SelectedObject("speck", mask=speck),
        SelectedObject(),
    )
    text = about(Selection(sample.photo, objects[:1]))
    assert f"1 a &lt;toy&gt;: {whole.mean():.1%}" in text and "without &lt; and &gt;" in text
    text = about(Selection(sample.photo, (replace(objects[0], name="toy"), objects[3])))
    assert f"1 toy: {whole.mean():.1%}" in text and "notice" not in text
    text = about(Selection(sample.photo, (replace(objects[0], name="toy"), objects[1], objects[3])))
    assert "overlap by 100% of the smaller mask" in text
    text = about(Selection(sample.photo, (replace(objects[0], name="toy"), objects[2])))
    assert "less than 0.05 %" in text


def test_the_inner_of_two_overlapping_objects_is_on_top(sample):
    inner = sample.concepts[0].mask
    outer = inner | np.roll(inner, 20, axis=1)
    objects = (SelectedObject("patch", mask=inner), SelectedObject("coat", mask=outer), SelectedObject())
    selection = Selection(sample.photo, objects)
    assert selections.has_overlap(selection) and not selections.has_overlap(Selection(sample.photo, objects[:1]))
    assert "overlap by 100%" in about(selection)
    separate = replace(selection, innermost=True)
    assert "overlap" not in about(separate)
    masks = [concept.mask for concept in selections.to_scene(separate).concepts]
    assert (masks[0] == inner).all() and (masks[1] == (outer & ~inner)).all()
    shown = [obj.mask for obj in selections.separated(separate).objects[:2]]
    assert all((one == other).all() for one, other in zip(shown, masks, strict=True))


def test_a_subsampled_selection_has_the_same_shares_and_loses_nothing():
    photo = Image.new("RGB", (3000, 2001))
    large, speck = np.zeros((2001, 3000), bool), np.zeros((2001, 3000), bool)
    large[200:900, 300:1500], speck[1001, 1001] = True, True
    objects = (SelectedObject("large", mask=large), SelectedObject("none yet"))
    thin = selections.subsampled(Selection(photo, objects))
    assert max(thin.photo.size) <= 1024 and thin.objects[0].mask.shape == thin.photo.size[::-1]
    assert abs(thin.objects[0].mask.mean() - large.mean()) < 1e-3 and thin.objects[1].mask is None
    whole = Selection(photo, (*objects, SelectedObject("speck", mask=speck)))
    assert selections.subsampled(whole) is whole
    assert selections.subsampled(Selection(Image.new("RGB", (640, 480)))).photo.size == (640, 480)


def test_names_of_a_late_event_do_not_replace_newer_ones(tmp_path):
    history = SelectionHistory(tmp_path)

    def takes(name, *sent):
        history.update_names([name, None], sent)
        return history.selection.objects[0].name == name == history.page_names[0]

    assert takes("first", 1000, 10) and takes("second", 1000, 20.5)
    assert not takes("first", 1000, 20) and history.selection.objects[0].name == "second"
    assert takes("on the phone", 900, 1) and takes("third", 1000, 30)


def test_names_sent_by_an_old_view_are_those_of_its_objects(tmp_path):
    """A page on a busy server: it undoes and redoes before it shows the answers."""
    objects = (SelectedObject("cup", key=1), SelectedObject("bowl", key=2))
    history, page = SelectionHistory(tmp_path, Selection(Image.new("RGB", (64, 64)), objects)), 1000

    def names():
        return [one.name for one in history.selection.objects]

    history.leave(page)
    before = history.views[page].number
    history.change(selections.remove_object(history.selection, 0))
    history.leave(page)
    history.update_names(["cup", "bowl"], (page, 20, before))
    assert names() == ["bowl"] == history.page_names
    history.update_names(["cup", "dish"], (page, 30, before))  # renamed there meanwhile
    assert names() == ["dish"] and history.page_names == ["bowl"]
    history.undo()
    assert names() == ["cup", "bowl"]
    history.leave(page)
    history.update_names(["dish"], (page, 40, before + 1))
    assert names() == ["cup", "dish"]
    history.update_names(["mug", "dish"], (page, 50, 7777))  # of a view that is forgotten
    assert names() == ["cup", "dish"]


def test_a_name_is_not_stripped_in_the_page_while_it_is_typed(tmp_path):
    session = Session("token", tmp_path)
    with gr.Blocks():
        screen = select.build(PageContext(SessionStore(tmp_path), None, gr.State(""), gr.Timer(active=False)))
    session.history.update_names(["my "], (1000, 10))
    first, *others = screen.objects.names
    assert session.history.selection.objects[0].name == "my" and first in screen.show(session)
    updates = screen.show(session, page_names=session.history.page_names)
    assert first not in updates and all(name in updates for name in others)


def test_all_but_this_inverts_the_mask_and_is_undone(clicked, tmp_path):
    history = SelectionHistory(tmp_path, clicked)
    mask = clicked.objects[0].mask
    history.change(selections.invert(history.selection))
    assert np.array_equal(history.selection.objects[0].mask, ~mask)
    assert np.array_equal(selections.invert(history.selection).objects[0].mask, mask)
    history.undo()
    assert np.array_equal(history.selection.objects[0].mask, mask)
    with pytest.raises(UserError, match="click the object first"):
        selections.invert(Selection(clicked.photo))


@pytest.mark.parametrize("to", FORMATS)
def test_masks_are_downloaded_and_imported_again(to, sample, tmp_path):
    history = SelectionHistory(tmp_path, selections.from_scene(sample))
    with zipfile.ZipFile(history.zip_masks(to)) as archive:
        archive.extractall(tmp_path / "files")
    files = [path for path in sorted((tmp_path / "files").iterdir()) if path.suffix in (".png", ".json")]
    if to == "coco":
        files = [path for path in files if path.suffix == ".json"]
    elif to == "scene":
        files = [path for path in files if path.stem.startswith("mask")]
    again = SelectionHistory(tmp_path, Selection(sample.photo))
    again.import_masks([str(path) for path in files])
    found = {obj.mask.tobytes(): obj.name for obj in again.selection.objects}
    assert found.keys() == {concept.mask.tobytes() for concept in sample.concepts}
    if to != "scene":  # there the names stand in names.txt
        assert set(found.values()) == {concept.name for concept in sample.concepts}
    before = again.selection
    with pytest.raises(UserError, match="There is no file"):
        again.import_masks([*map(str, files), str(tmp_path / "gone.json")])
    assert again.selection is before
