"""The picking table without a browser: readings, the brush, what is said of the picks."""

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from breakascene.data.scene import MAX_CONCEPTS, load_scene
from breakascene.errors import UserError
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio import strings
from breakascene.studio.screens import pick
from breakascene.studio.screens.pick import Pick, samples
from breakascene.studio.state import selection as boards
from breakascene.studio.state.selection import Board, Thing
from breakascene.studio.state.session import Desk


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.load("toybox", "cpu")


@pytest.fixture(scope="module")
def sample():
    return load_scene(samples()[0])


@pytest.fixture
def clicked(sample, segmenter):
    ys, xs = np.nonzero(sample.concepts[1].mask)
    return boards.click(Board(sample.photo), segmenter, int(xs.mean()), int(ys.mean()), "include")


def test_readings_go_from_small_to_large_and_end_with_a_sentence(clicked, segmenter):
    now, sizes = clicked, [clicked.things[0].mask.sum()]
    for larger, sentence in ((False, strings.NO_SMALLER), (True, strings.NO_LARGER)):
        for _ in range(3):
            try:
                now = boards.other_reading(now, segmenter, larger)
            except UserError as error:
                assert error.args[0] == sentence
                break
            sizes.append(now.things[0].mask.sum())
            assert (sizes[-1] > sizes[-2]) == larger
        else:
            raise AssertionError("three readings have no fourth")
    with pytest.raises(UserError, match="Click on the thing first"):
        boards.other_reading(Board(clicked.photo), segmenter, True)


def test_the_brush_adds_and_takes_away_and_clicks_go_on_from_there(clicked, segmenter):
    before = clicked.things[0].mask
    painted = boards.paint(clicked, [(5, 5), (25, 5)], 8, "paint")
    added = painted.things[0].mask & ~before
    assert added[5, 5:26].all() and added[2, 15] and not added[11, 15] and added.sum() == pytest.approx(21 * 8 + 50, 30)
    assert (painted.things[0].mask | before == painted.things[0].mask).all()
    ys, xs = np.nonzero(before)
    rubbed = boards.paint(painted, [(int(xs.mean()), int(ys.mean()))], 12, "erase")
    gone = painted.things[0].mask & ~rubbed.things[0].mask
    assert gone.any() and gone.sum() == pytest.approx(np.pi * 36, rel=0.2)
    again = boards.click(rubbed, segmenter, int(xs.mean()), int(ys.mean()), "include")
    assert again.things[0].mask[5, 15] and again.things[0].mask[int(ys.mean()), int(xs.mean())]
    by_key = boards.click(Board(clicked.photo), segmenter, 40, 50, "paint").things[0].mask
    assert by_key[50, 40] and by_key.sum() == pytest.approx(np.pi * (0.015 * max(clicked.photo.size)) ** 2, rel=0.4)
    with pytest.raises(UserError, match="nothing to leave out yet"):
        boards.paint(Board(clicked.photo), [(5, 5)], 8, "erase")


def test_eight_things_fit_and_a_ninth_is_refused_with_a_sentence(sample):
    board = Board(sample.photo)
    for _ in range(7):
        board = boards.add_thing(board)
    with pytest.raises(UserError, match="8 things at most, so remove one first"):
        boards.add_thing(board)
    for i, concept in enumerate(sample.concepts):  # what was found takes the empty places
        board = boards.add_thing(board, Thing(mask=concept.mask))
        assert len(board.things) == 8 and board.active == i
    with pytest.raises(UserError, match="already picked: choose another"):
        boards.add_thing(board, Thing(mask=sample.concepts[0].mask))


def test_what_is_said_of_the_picks(sample):
    assert pick.about(Board(sample.photo)) == ""
    whole, speck = sample.concepts[0].mask, np.zeros_like(sample.concepts[0].mask)
    speck[10:14, 10:14] = True
    things = (Thing("a <toy>", mask=whole), Thing("ball", mask=whole | speck), Thing("speck", mask=speck), Thing())
    said = pick.about(Board(sample.photo, things[:1]))
    assert f"1 a &lt;toy&gt;: {whole.mean():.1%}" in said and "without &lt; and &gt;" in said
    said = pick.about(Board(sample.photo, (replace(things[0], name="toy"), things[3])))
    assert f"1 toy: {whole.mean():.1%}" in said and "notice" not in said
    said = pick.about(Board(sample.photo, (replace(things[0], name="toy"), things[1], things[3])))
    assert "overlap by 100% of the smaller mask" in said
    said = pick.about(Board(sample.photo, (replace(things[0], name="toy"), things[2])))
    assert "under 0.05 %" in said


def test_a_thinned_board_has_the_same_shares_and_loses_nothing():
    photo = Image.new("RGB", (3000, 2001))
    large, speck = np.zeros((2001, 3000), bool), np.zeros((2001, 3000), bool)
    large[200:900, 300:1500], speck[1001, 1001] = True, True
    things = (Thing("large", mask=large), Thing("none yet"))
    thin = boards.thinned(Board(photo, things))
    assert max(thin.photo.size) <= 1024 and thin.things[0].mask.shape == thin.photo.size[::-1]
    assert abs(thin.things[0].mask.mean() - large.mean()) < 1e-3 and thin.things[1].mask is None
    whole = Board(photo, (*things, Thing("speck", mask=speck)))
    assert boards.thinned(whole) is whole
    assert boards.thinned(Board(Image.new("RGB", (640, 480)))).photo.size == (640, 480)


def test_names_of_an_event_that_comes_late_are_older_than_those_there_are(tmp_path):
    desk = Desk("token", tmp_path)

    def takes(name, *sent):
        desk.take_names([name, None], sent)
        return desk.board.things[0].name == name == desk.page_names[0]

    assert takes("first", 1000, 10) and takes("second", 1000, 20.5)
    assert not takes("first", 1000, 20) and desk.board.things[0].name == "second"
    assert takes("on the phone", 900, 1) and takes("third", 1000, 30)


def test_a_name_that_the_page_has_with_blanks_is_not_sent_back_while_it_is_typed(tmp_path):
    desk = Desk("token", tmp_path)
    desk.take_names(["my "], (1000, 10))
    rows_and_names = Pick([], None).show(desk, desk.page_names)[-2 * MAX_CONCEPTS :]
    assert desk.board.things[0].name == "my" and rows_and_names[1] == gr.skip()
