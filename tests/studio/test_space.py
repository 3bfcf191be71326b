"""A Hugging Face Space: its settings at the top of the README, and the GPU seconds that it is asked for."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio
import yaml

from breakascene.studio import engine, estimates

ROOT = Path(__file__).parents[2]


def test_the_readme_begins_with_the_settings_of_a_space():
    settings = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert settings["sdk"] == "gradio" and settings["sdk_version"] == gradio.__version__
    assert settings["python_version"] == "3.12" and (ROOT / settings["app_file"]).is_file()
    assert {settings["colorFrom"], settings["colorTo"]} <= set("red yellow green blue indigo purple pink gray".split())
    assert len(settings["short_description"]) <= 60


def test_the_calls_that_need_the_gpu_request_the_seconds_they_take(monkeypatch):
    requested = {}

    def gpu(duration):
        return lambda function: requested.setdefault(function.__name__, duration) and function

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    runpy.run_path(engine.__file__)
    assert requested == {
        "extract": estimates.extraction_lease,
        "generate": estimates.generation_lease,
        "edit": estimates.generation_lease,
        "place": estimates.placing_lease,
        "upscale": engine.UPSCALING_SECONDS,
        "evaluate": engine.EVALUATION_SECONDS,
        "compare": engine.COMPARISON_SECONDS,
        "export": engine.EXPORT_SECONDS,
    }
