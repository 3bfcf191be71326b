"""The review and vote pages in a real browser: what is clicked there reaches the pilot's results."""

import json
from dataclasses import replace

import numpy as np
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.pilot import review, vote
from breakascene.pilot.plan import read_plan
from breakascene.pilot.run import read_results, run, sequential
from breakascene.pilot.store import Store


def test_review_and_vote(browser, plan_file, tmp_path):
    text = plan_file.read_text().replace("masks: masks", "masks: auto")
    plan_file.write_text(text.replace("photos: photos", "photos: [photos/001.png, photos/003.png]"))
    out = tmp_path / "out"
    command = ["pilot", "review", str(plan_file), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0 and "2 photos" in result.output, result.output
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((out / review.PAGE).as_uri())
    assert page.locator("#save").is_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    first, second = page.locator(".question").all()
    before = [object["counts"] for object in json.loads(page.locator("#data").text_content())[0]["objects"]]

    # The first object is accepted with a name and a correction, all others are rejected
    for box in (*first.get_by_label("Reject").all(), *second.get_by_label("Reject").all()):
        box.check()
    first.get_by_label("Name").first.fill("toy <1>")
    first.get_by_label("Name").first.fill("toy")
    first.get_by_label("Accept").first.check()
    first.locator("canvas").click(position={"x": 3, "y": 3})
    with page.expect_download() as download:
        page.locator("#save").click()
    saved = tmp_path / "review.json"
    download.value.save_as(saved)
    assert CliRunner().invoke(app, [*command, "--add", str(saved)]).exit_code == 0
    for counts, size in (([10**14], [10**7, 10**7]), ([4], [2, 3]), ([10**30], [2, 3]), (["x"], [1, 1]), ([1], [1])):
        objects = [{"name": "a", "mask": {"size": size, "counts": counts}}]
        (tmp_path / "bad.json").write_text(json.dumps({"photos": {"001": objects}}))
        result = CliRunner().invoke(app, [*command, "--add", str(tmp_path / "bad.json")])
        assert result.exit_code == 2 and "bad.json is not a file of the review page" in result.stderr
    plan, store = read_plan(plan_file), Store(out)
    decision = review.read_decisions(store)["001"]
    assert decision.photo_hash == plan.photos[0].file_hash()
    ((name, mask),) = decision.masks((256, 256))
    shown = review.Decision((("", {"size": [256, 256], "counts": before[0]}),)).masks((256, 256))[0][1]
    assert name == "toy" and mask[0, 0] and not shown[0, 0] and np.array_equal(mask[64:], shown[64:])

    # The run takes the reviewed masks, and says why the other photo has none
    run(plan, store, sequential(plan.base))
    one, other = read_results(store)
    assert one["masks"] == "reviewed" and [found["name"] for found in one["objects"]] == ["toy"]
    assert other["state"] == "failed" and "were rejected" in other["reason"]

    vote.write_vote(replace(plan, name="A & B"), store)
    page.goto((out / "vote" / "index.html").as_uri())
    assert page.locator("#save").is_disabled() and page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("Yes").check()
    page.locator("#voter").fill("Ana")
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "votes.json")
    assert vote.add_votes(store, (tmp_path / "votes.json").read_bytes(), "votes.json") == "Ana"
    assert vote.counted_votes(store, [])["would use the image"].value == 1
    assert not errors
    page.close()
