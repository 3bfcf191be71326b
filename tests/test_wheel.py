"""The wheel holds the package alone, with its assets inside, and works where it is installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]


def run(*arguments, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_installs_and_segments(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("breakascene", "assets", "pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements.txt"):
        (source / name).symlink_to(ROOT / name)  # so that the build leaves nothing in the checkout
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check", "-q")
    run("pip", "wheel", *options, "-w", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in files} == {"breakascene"}
    assert "breakascene/studio/static/studio.css" in files and "breakascene/assets/toybox/model_index.json" in files
    assert not any(part in name for name in files for part in ("readme/", "__pycache__", "tests/"))
    assert len([name for name in files if name.endswith(".py")]) == len(list((ROOT / "breakascene").rglob("*.py")))

    run("pip", "install", *options, "--target", site, wheel, cwd=tmp_path)
    code = "import breakascene.cli.demo as demo; print(demo.sample_scene().names, demo.__file__)"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True
    )
    assert b"teapot" in printed.stdout and str(site).encode() in printed.stdout, printed.stderr
    photo = site / "breakascene" / "assets" / "samples" / "teapot-and-owl" / "img.png"
    run("breakascene", "segment", photo, "--point", "60,180", "--out", "teapot.png", cwd=tmp_path, PYTHONPATH=str(site))
    assert Image.open(tmp_path / "teapot.png").size == Image.open(photo).size
