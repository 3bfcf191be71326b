"""The pilot in the studio: photos and a plan become a report, in the browser; other jobs run between its photos."""

import pytest
from helpers.browser import LONG, delete, expect, expect_notice, visitor
from helpers.studio import running_studio

from breakascene.errors import UserError
from breakascene.pilot.plan import read_plan
from breakascene.studio import environment, loaded
from breakascene.studio.jobs import Job, JobQueue
from breakascene.studio.screens import pilot_job
from breakascene.studio.state import deletion
from breakascene.studio.state.pilot_folder import PilotFolder, plan_text
from breakascene.studio.state.session import Session
from breakascene.toybox.pretraining.pilot_photos import write_pilot_photos

# The ids of what is wider than the screen
WIDE = """() => [...document.querySelectorAll("[id]")].filter((one) => one.getBoundingClientRect().right > 390)
  .map((one) => one.id)"""
PLAN = """\
name: Spring <catalog>
photos: photos
consent: nobody
presets: quick
steps: [1, 1]
prompts: a photo of {object}
inference_steps: 1
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pilot") / "pilot"
    write_pilot_photos(folder, 3)
    return sorted((folder / "photos").iterdir())


def choose(radio):
    """By the keyboard: the frame of the page may still move while its section opens, and a click would miss."""
    radio.press("Space")
    expect(radio).to_be_checked()


def test_photos_become_a_report_with_reviewed_masks_votes_and_variants(browser, photos, tmp_path, tiny_folder):
    plan, broken, campaign = tmp_path / "plan.yaml", tmp_path / "broken.png", tmp_path / "campaign.csv"
    plan.write_text(PLAN)
    broken.write_bytes(b"no photo")
    campaign.write_text("variant,impressions,clicks\nbeach,10000,300\nsnow,10000,200\n")
    data = tmp_path / "data"
    with running_studio(data, base=str(tiny_folder)) as address, visitor(browser, address, width=390) as page:
        page.get_by_role("tab", name="Pilot").click()
        page.locator("#pilot-create").click()
        expect_notice(page, "There is no photo among the files")
        page.locator("#pilot-files input[type=file]").set_input_files([photos[0], broken, plan])
        expect(page.locator("#pilot-files")).to_contain_text("broken")
        page.locator("#pilot-create").click()
        expect(page.locator("#pilot-about")).to_contain_text("Spring <catalog>Photos: 2. Presets: Quick.")

        # The photo that cannot be read is reported; the other one goes on
        page.locator("#pilot-start").click()
        expect(page.locator("#pilot-status")).to_contain_text("1 could not be processed.", timeout=LONG)
        expect(page.locator("#pilot-status")).to_contain_text("broken.png")
        expect(page.locator("#pilot-start")).to_contain_text("Retry failed photos")
        page.locator("#delete-pilot").click()
        page.locator("#confirm-delete-pilot .confirm").click()
        page.locator("#pilot-files input[type=file]").set_input_files([photos[0], photos[2], plan])
        expect(page.locator("#pilot-files")).to_contain_text("003")
        page.locator("#pilot-create").click()

        # What is decided in the frame reaches the run
        page.locator("#pilot-review > button").click()
        page.locator("#pilot-review-start").click()
        review = page.frame_locator("#pilot-review-page iframe")
        for box in (review.locator("#save"), review.get_by_label("Accept").first):
            box.wait_for()
        for accept in review.locator("#photo-001").get_by_label("Accept").all():
            choose(accept)
        for reject in review.locator("#photo-003").get_by_label("Reject").all():
            choose(reject)
        review.locator("#save").click()
        expect_notice(page, "The review of 2 photos is saved.")
        page.locator("#pilot-start").click()
        expect(page.locator("#pilot-status")).to_contain_text("2 of 2 photos done.", timeout=LONG)
        expect(page.locator("#pilot-status")).to_contain_text("All automatic masks of this photo were rejected")

        page.locator("#pilot-vote > button").click()
        page.locator("#pilot-vote-show").click()
        vote = page.frame_locator("#pilot-vote-page iframe")
        choose(vote.get_by_label("Yes"))
        vote.locator("#voter").fill("Ana")
        vote.locator("#save").click()
        expect_notice(page, "Votes of Ana added. Voters so far: 1.")
        page.locator("#pilot-report > button").click()
        page.locator("#pilot-report-show").click()
        report = page.frame_locator("#pilot-report-page iframe").locator("body")
        for text in ("Does it work for us?", "What colleagues say", "base tiny"):
            expect(report).to_contain_text(text)
        with page.expect_download() as download:
            page.locator("#pilot-report-download").click()
        assert download.value.suggested_filename == "pilot-report.zip"

        page.locator("#pilot-ab > button").click()
        page.locator("#pilot-ab-file input[type=file]").set_input_files(campaign)
        expect(page.locator("#pilot-ab-results")).to_contain_text("clicks of impressions: beach wins")
        page.locator("#pilot-variants-start").click()
        expect(page.locator("#pilot-status")).to_contain_text("2 images are ready", timeout=LONG)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, page.evaluate(WIDE)

        # It is there after a reload, in the other language too, until it is deleted
        page.get_by_role("link", name="日本語").click()
        page.get_by_role("tab", name="パイロット").click()
        expect(page.locator("#pilot-about")).to_contain_text("写真 2 枚")
        page.locator("#pilot-ab > button").click()
        expect(page.locator("#pilot-variants-download")).to_be_visible()
        delete(page, "pilot")
        expect(page.locator("#pilot-form")).to_be_visible()
        assert not list(data.glob("*/pilot*"))


def test_jobs_of_others_run_between_the_photos_and_another_pilot_waits():
    queue, order = JobQueue(), []

    def pilot(job):
        for part in ("first", "second"):
            order.append(part)
            if part == "first":
                others.extend(
                    queue.submit("b", kind, lambda job: order.append(job.kind)) for kind in ("pilot", "x", "x")
                )
            queue.give_way(job)

    others = []
    try:
        job = queue.submit("a", "pilot", pilot)
        with job.changed:
            job.changed.wait_for(lambda: others and all(one.ended for one in (job, *others)))
    finally:
        queue.close()
    assert order == ["first", "x", "second", "x", "pilot"]


def test_a_plan_from_elsewhere_reads_nothing_outside_its_folder(photos, tmp_path):
    pilot, plan = PilotFolder(tmp_path / "data" / "pilot"), tmp_path / "plan.yaml"
    (tmp_path / "masks").mkdir()
    for text in (
        f"photos: {photos[0].parent}",
        "photos: ../..",
        f"photos: [{photos[0]}]",
        "photos: photos\nmasks: ../../masks",
        f"photos:\n- {{photo: photos/001.png, masks: {photos[0]}}}",
    ):
        plan.write_text(text)
        with pytest.raises(UserError, match="plan.yaml, line .: .*lies outside the folder of the plan"):
            pilot.create([photos[0], plan], {})
        assert pilot.about() is None
    twice = tmp_path / "001.PNG"
    twice.write_bytes(b"")
    for files, reason in (([], "no photo"), ([photos[0], twice], "Two files"), ([photos[0], plan, plan], "one plan")):
        with pytest.raises(UserError, match=reason):
            pilot.create(files, {})
    pilot.create([photos[0]], {"prompts": ["a photo of {object}"]})
    assert pilot.about().automatic == 1 and pilot.status() is None and pilot.plan("toybox").base == "toybox"
    with pytest.raises(UserError, match="braces"):
        pilot.create([photos[1]], {"prompts": ["a photo of {thing}"]})
    assert [photo.id for photo in pilot.plan("toybox").photos] == ["001"]  # the earlier one stays
    pilot.create([photos[0]], {"base": "other/model"})
    with pytest.raises(UserError, match="for the base model other/model"):
        pilot.plan("toybox")
    pilot.create_sample({"count": 2})
    assert pilot.about().automatic == 0 and read_plan(pilot.folder / "plan.yaml").count == 2
    deletion.delete_old(pilot.folder.parent, before=2**40)
    assert pilot.about() is None
    assert plan_text({"photos": "p", "prices": None, "name": "山"}).decode() == "photos: p\nname: 山\n"


def test_the_host_decides(monkeypatch):
    for value, expected in (("", True), ("off", False), ("ON", True)):
        monkeypatch.setenv("BREAKASCENE_PILOT", value)
        assert environment.switch("BREAKASCENE_PILOT", True) is expected
    monkeypatch.setenv("BREAKASCENE_PILOT", "maybe")
    with pytest.raises(UserError, match="on or off"):
        environment.switch("BREAKASCENE_PILOT", False)


def test_a_stopped_pilot_goes_on_where_it_was(photos, tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr(loaded, "_loaded", {})
    loaded.open_models(str(tiny_folder))
    session, queue, plan = Session("token", tmp_path / "session"), JobQueue(), tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    try:
        with pytest.raises(UserError, match="no pilot yet"):
            pilot_job.submit_run(session, queue)
        folder = pilot_job.folder_of(session)
        folder.create([*photos[:2], plan], {})
        with pytest.raises(UserError, match="no results yet"):
            pilot_job.submit_variants(session, queue, "")
        for part, between in (("stopped", Job.request_stop), ("finished", lambda job: None)):
            monkeypatch.setattr(queue, "give_way", between)  # after the first photo
            pilot_job.submit_run(session, queue)
            with pytest.raises(UserError, match="still running"):
                pilot_job.submit_review(session, queue)
            job = session.pilot
            with job.changed:
                job.changed.wait_for(lambda job=job: job.ended)
            status = folder.status()
            assert status["state"] == part and status["done"] == (1 if part == "stopped" else 2), job.error
            assert (folder.store.folder / "report" / "index.html").is_file()
            assert "1 of 2" in pilot_job.describe(job) or part == "finished"
        assert pilot_job.describe_status(folder) == pilot_job.describe(job)
    finally:
        queue.close()
