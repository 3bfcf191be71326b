"""The report, the vote and the intervals behind them, from results that are known in advance."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.pilot import vote
from breakascene.pilot.calibration import fit_to_votes
from breakascene.pilot.intervals import mean_interval, needed, share_interval
from breakascene.pilot.photos import PlannedPhoto
from breakascene.pilot.plan import Plan, Prices, Thresholds
from breakascene.pilot.report import write_report
from breakascene.pilot.report_page import _charts
from breakascene.pilot.run import PHOTOS, STATUS
from breakascene.pilot.store import RESULT, Store
from breakascene.pilot.summary import NO, UNDECIDED, UNKNOWN, YES, summarize

PRICES = Prices("EUR", gpu_hour=36, person_hour=60, minutes_per_photo=1, minutes_per_image=0.5, reshoot=20)


def jpeg(color="red"):
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(stream, "jpeg")
    return stream.getvalue()


def result(photo, identities, preset="quick", **changes):
    """A result of a photo of a mug and a ball, with an image of each for each given identity similarity of the mug."""
    rows = [
        {
            "file": f"images/{i}.png", "prompt": "a photo of <asset0> at the beach", "seed": i, "width": 64,
            "height": 48, "prompt_similarity": 0.9, "identity": {"<asset0>": value}, "seen": None, "place": None,
        }
        for i, value in enumerate(identities)
    ]  # fmt: skip
    return {
        "photo": photo, "preset": preset, "key": "", "state": "done", "masks": "given", "images": rows,
        "objects": [{"handle": f"<asset{i}>", "name": name, "share": 0.1} for i, name in enumerate(("mug", "ball"))],
        "seconds": {"extraction": 80, "images": 20, "total": 100}, "steps": 2, "memory_mode": "fast", "bytes": 2e6,
        "peak_bytes": 1e9, "advice": [], "unfamiliar": False, "base": "toybox", "device": "cpu", "notes": [],
        "measured_by": {"prompt": "toybox", "identity": "toybox"}, "worker": "here:1", **changes,
    }  # fmt: skip


def failed(photo, preset="quick"):
    seconds = {"total": 1}
    reason = "The photo is <too> dark: take another."
    return {
        "photo": photo, "preset": preset, "key": "", "state": "failed", "reason": reason, "masks": "given",
        "seconds": seconds,
    }  # fmt: skip


def plan_of(results, presets=("quick",), **changes):
    photos = dict.fromkeys(one["photo"] for one in results)
    planned = tuple(PlannedPhoto(photo, None) for photo in photos)
    return Plan("Our <photos>", planned, presets=presets, prices=PRICES, **changes)


def store_of(tmp_path, results):
    store = Store(tmp_path / "results")
    folders = [f"{one['photo']}/{one['preset']}" for one in results]
    store.write_file(STATUS, json.dumps({"folders": folders, "total": len(results) + 1}).encode())
    for one in results:
        images = {row["file"]: jpeg("blue") for row in one.get("images", [])}
        own = {"photo.jpg": jpeg(), RESULT: json.dumps(one).encode()}
        store.write_folder(f"{PHOTOS}/{one['photo']}/{one['preset']}", {**images, **own})
    return store


def answer(*shares, **changes):
    """The summary of photos with these shares of usable images, of four each."""
    results = [result(f"p{i}", [0.9] * n + [0.1] * (4 - n)) for i, n in enumerate(shares)]
    return summarize(plan_of(results, **changes), results)[0]


def test_the_answer_follows_from_the_interval_of_the_photos_that_work():
    assert answer(*[4] * 20).answer == YES
    assert answer(*[1] * 20).answer == NO
    one = answer(*[4] * 8, 0, 1)
    assert one.answer == UNDECIDED and (one.working.value, one.working.count) == (0.8, 10)
    assert one.more_photos is None  # it lies on the goal
    one = answer(*[4] * 9, 1)
    assert one.answer == UNDECIDED and one.more_photos == needed(0.9, 0.8) - 10 > 20
    assert share_interval(0.9 * (one.more_photos + 10), one.more_photos + 10).low >= 0.8
    assert answer(*[2] * 20, thresholds=Thresholds(identity=0.95)).answer == NO
    results = [result("a", [0.9], measured_by={"prompt": "CLIP", "identity": "DINO"})]
    unknown = summarize(plan_of(results), results)[0]
    assert unknown.answer == UNKNOWN and unknown.working is None and unknown.photos[0].works is None


@pytest.mark.parametrize("limit, counts", [(0, [1, 0, 2, 1]), (0.5, [1, 1, 1, 1]), (1, [1, 2, 0, 1])])
def test_each_photo_is_in_one_class_of_the_chart(limit, counts):
    chart = _charts(answer(0, 1, 2, 4, thresholds=Thresholds(photo=limit))).split("</h3>")[1].split("<h3>")[0]
    assert [int(text) for text in re.findall(r">(\d+)<", chart)] == counts


def test_costs_are_those_of_time_and_people():
    # 100 s at 36 an hour, 1 + 4 × 0.5 minutes at 60 an hour
    one = answer(4, 4, 2, 2)
    assert one.cost.machine == pytest.approx(1) and one.cost.person == pytest.approx(3)
    assert one.cost.usable.value == pytest.approx(4 * 4 / 12)
    assert one.cost.usable.low < one.cost.usable.value < one.cost.usable.high
    assert one.seconds == 100


def test_intervals_are_those_of_the_textbook():
    # Wilson's, from Agresti and Coull's example of 0 of 10; Student's for 1, 2, 3: 2 ± 4.303 / √3
    assert share_interval(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    found = mean_interval([1, 2, 3])
    assert (found.value, found.high) == (2, pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3))
    assert share_interval(0, 0) is None and mean_interval([1]) is None and needed(0.8, 0.8) is None


def test_the_report_says_what_fails_and_why(tmp_path):
    mixed = result("p4", [0.2] * 3)
    for row in mixed["images"]:
        row["seen"] = {"<asset0>": "ball"}
    missing, prompt = result("p5", [0.0, 0.0, 0.9]), result("p6", [0.9, 0.9, 0.9])
    for row in prompt["images"]:
        row["prompt_similarity"] = 0.1
    unfamiliar = result("p7", [0.3] * 3, unfamiliar=True, masks="automatic")
    results = [*(result(f"p{i}", [0.9, 0.9, 0.9]) for i in range(4)), mixed, missing, prompt, unfamiliar, failed("p8")]
    store = store_of(tmp_path, results)
    write_report(plan_of(results), store)
    folder = tmp_path / "results" / "report"
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "Our &lt;photos&gt;" in page and "4 of 9 photos work: 44 % (19–73); the goal is 80 %" in page
    assert (
        "The photo is &lt;too&gt; dark: take another." in page
        and "Not decided" not in page
        and "No. It does not" in page
    )
    for sentence in (
        "One object looks like another one of the photo in 3 of 3 images",
        "An object does not appear in 2 of 3 images",
        "The prompt is not followed in 3 of 3 images",
        "unlike those that toybox was trained on",
        "1 photos are not processed yet",
        "Check the automatic masks of 1 photo",
        # 8 photos at 1 for the machine and 2.5 for people, and one at 1.01, for 13 usable images at 20
        "costs 11 % of one from a reshoot",
    ):
        assert sentence in page, sentence
    assert page.count("src=") == page.count('src="data:image/jpeg;base64,')  # the page is complete in itself
    rows = list(csv.DictReader(io.StringIO((folder / "photos.csv").read_text(encoding="utf-8-sig"))))
    assert [row["works"] for row in rows] == ["True"] * 4 + ["False"] * 5 and rows[0]["usable"] == "3"
    images = list(csv.DictReader(io.StringIO((folder / "images.csv").read_text(encoding="utf-8-sig"))))
    assert len(images) == 24 and sum(row["usable"] == "True" for row in images) == 13
    values = json.loads((folder / "report.json").read_text())["presets"][0]
    assert values["answer"] == NO and values["photos_that_work"]["count"] == 9
    with pytest.raises(UserError, match="no photo of this plan"):
        write_report(replace(plan_of(results), photos=()), store)


def test_votes_are_counted_by_threshold_and_by_preset(tmp_path):
    results = [result(f"p{i}", [0.9 if i % 2 else 0.1]) for i in range(6)]
    store, plan = store_of(tmp_path, results), plan_of(results)
    assert vote.write_vote(plan, store) == 6
    key = json.loads(store.read(vote.KEY))
    page = store.read("vote/index.html").decode()
    assert "quick" not in page and all(question["id"] in page for question in key)
    page_id = page.split('data-page="')[1][:12]
    answers = {one["id"]: "yes" if int(one["photo"][1]) % 2 else "no" for one in key}
    for voter, given in (("Ana", answers), ("Bo", {**answers, key[0]["id"]: "yes"}), ("Ana", answers)):
        vote.add_votes(store, json.dumps({"page": page_id, "voter": voter, "answers": given}).encode(), "a.json")
    assert vote.vote_count(store) == 2
    found = vote.counted_votes(store, summarize(plan, results))
    assert found["… of those that pass the thresholds"].value == 1
    assert found["… of those that do not pass"].value in (0, pytest.approx(1 / 6))
    assert found["would use the image"].count == 6
    write_report(plan, store)
    assert "Votes on images of 6 photos; each photo counts once." in store.read("report/index.html").decode()
    for data in (b"[]", b"{", json.dumps({"page": "other", "voter": "C", "answers": {}}).encode()):
        with pytest.raises(UserError, match="vote"):
            vote.add_votes(store, data, "c.json")
    wrong = {"page": page_id, "voter": "C", "answers": {key[0]["id"]: "left"}}
    with pytest.raises(UserError, match="does not offer"):
        vote.add_votes(store, json.dumps(wrong).encode(), "c.json")

    # The same page keeps its votes; an image that was made anew has none, and its page is another
    assert vote.write_vote(plan, store) == 6 and vote.vote_count(store) == 2
    store.write_file(f"{PHOTOS}/p1/quick/{RESULT}", json.dumps({**results[1], "key": "new"}).encode())
    assert {photo for photo, _, _ in vote.votes_by_image(store)} == {"p0", "p2", "p3", "p4", "p5"}
    assert vote.write_vote(plan, store) == 6 and vote.vote_count(store) == 0

    results += [result(f"p{i}", [0.9], preset="light") for i in range(6)]
    store, plan = store_of(tmp_path / "two", results), plan_of(results, presets=("quick", "light"))
    assert vote.write_vote(plan, store) == 6
    key = json.loads(store.read(vote.KEY))
    page_id = store.read("vote/index.html").decode().split('data-page="')[1][:12]
    answers = {one["id"]: ("left", "right")[one["presets"].index("light")] for one in key}
    vote.add_votes(store, json.dumps({"page": page_id, "voter": "Ana", "answers": answers}).encode(), "a.json")
    found = vote.counted_votes(store, summarize(plan, results))
    assert (found["preset light"].value, found["preset quick"].value) == (1, 0)


def test_thresholds_are_fitted_to_the_votes(tmp_path):
    # Colleagues would use the images of the mug from a similarity of 0.6 on, whatever the prompt similarity
    results = [result(f"p{i:02d}", [0.3 + 0.03 * i]) for i in range(20)]
    store, plan = store_of(tmp_path, results), plan_of(results)
    vote.write_vote(plan, store)
    key = json.loads(store.read(vote.KEY))
    page_id = store.read("vote/index.html").decode().split('data-page="')[1][:12]

    def add(voter, least):
        answers = {one["id"]: "yes" if int(one["photo"][1:]) >= least else "no" for one in key}
        vote.add_votes(store, json.dumps({"page": page_id, "voter": voter, "answers": answers}).encode(), "a.json")

    add("Ana", 18)
    with pytest.raises(UserError, match="would use 2 images and not 18 others: at least 5"):
        fit_to_votes(store)
    add("Ana", 10)
    add("Bo", 10)
    add("Cy", 15)
    fit = fit_to_votes(store)
    assert 0.57 < fit.identity <= 0.6 and fit.prompt <= 0.9
    assert (fit.images, fit.agree) == (20, 20) and 18 <= fit.agree_left_out <= 20
    printed = CliRunner().invoke(app, ["pilot", "thresholds", str(tmp_path / "results")]).stdout
    assert f"  identity: {fit.identity}\n" in printed and "judge 20 of 20" in printed
