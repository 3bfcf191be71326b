"""The public API of the package, and the Python example of the README."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import breakascene
from breakascene import Concepts, read_metadata

ROOT = Path(__file__).parents[1]


def test_importing_the_package_loads_no_library():
    code = (
        "import sys, breakascene; dir(breakascene); print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("name", breakascene.__all__)
def test_each_public_name_is_what_its_module_defines(name):
    value = getattr(breakascene, name)
    assert value.__name__ == name and value.__doc__
    assert value.__module__ == breakascene._EXPORTS[name]
    assert find_spec(f"breakascene.{name}") is None  # a submodule of the same name would replace it once imported


def test_other_names_are_attribute_errors():
    assert set(breakascene.__all__) <= set(dir(breakascene))
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        breakascene.extrct  # noqa: B018
    with pytest.raises(ImportError):
        from breakascene import extrct  # noqa: F401


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "run_extraction" in code)
    assert len(code.strip().splitlines()) <= 10
    for part, shorter in (
        ('preset("light", base)', 'preset("light", base, steps=(1, 1), num_prior_images=1)'),
        ("count=4", "count=2, num_inference_steps=2"),
    ):
        assert part in code
        code = code.replace(part, shorter)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert Concepts.load("run").steps == 2 and len(json.loads(Path("run/losses.json").read_text())) == 2
    paths = capsys.readouterr().out.split()[-2:]
    assert [read_metadata(path)["prompt"] for path in paths] == ["a photo of <asset0> and <asset1> at the beach"] * 2
