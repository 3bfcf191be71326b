"""What a Hugging Face Space reads and lends: the lines at the top of the README, the GPU for as long as is asked."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio
import yaml

from breakascene.studio import engine

ROOT = Path(__file__).parents[2]


def test_the_readme_begins_with_the_settings_of_a_space():
    settings = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert settings["sdk"] == "gradio" and settings["sdk_version"] == gradio.__version__
    assert settings["python_version"] == "3.12" and (ROOT / settings["app_file"]).is_file()
    assert {settings["colorFrom"], settings["colorTo"]} <= set("red yellow green blue indigo purple pink gray".split())
    assert len(settings["short_description"]) <= 60


def test_the_three_works_that_need_a_gpu_borrow_it_for_as_long_as_they_take(monkeypatch):
    lent = {}

    def borrow(duration):
        return lambda work: lent.setdefault(work.__name__, duration) and work

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=borrow))
    found = runpy.run_path(engine.__file__)
    assert lent == {"learn": found["_lent_to_learn"], "draw": found["_lent_to_draw"], "check": engine.CHECK_SECONDS}
