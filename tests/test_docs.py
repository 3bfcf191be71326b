"""The documents point at what exists: links, modules, functions, settings and commands."""

import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.pictures import COMMANDS
from breakascene import Settings
from breakascene.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
MODULES = {path.stem: path for path in (ROOT / "breakascene").glob("*/*.py") if path.stem != "__init__"}


def resolve(path: Path, name: str) -> object:
    """The object that a dotted name means in a module; for a dataclass, one of its fields."""
    value = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for part in name.split("."):
        declared = getattr(value, "__dataclass_fields__", {}) if isinstance(value, type) else {}
        value = declared[part] if part in declared else getattr(value, part)
    return value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_functions_of_the_method_exist():
    found = re.findall(r"`(\w+/\w+\.py)`((?:,? (?:and |→ )?`[A-Za-z_][\w.]*`)*)", METHOD)
    assert len(found) > 30
    for file, names in found:
        path = ROOT / file if file.startswith("benchmarks/") else ROOT / "breakascene" / file
        assert path.is_file(), file
        for name in re.findall(r"`([^`]+)`", names):
            resolve(path, name)


def test_qualified_names_of_the_method_exist():
    found = re.findall(r"`([a-z]\w+)\.([A-Za-z_]\w+)`", METHOD)
    assert len(found) > 10
    for module, name in found:
        if name != "py" and module in MODULES:
            resolve(MODULES[module], name)


def test_settings_of_the_method_exist():
    named = set(re.findall(r"`Settings\.(\w+)`", METHOD))
    assert len(named) > 8 and named <= {field.name for field in fields(Settings)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    known = {command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"python -m breakascene ([a-z]+)", text)) <= known
    for module in re.findall(r"python -m ((?:benchmarks|breakascene)\.[\w.]+)", text):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_the_commands_that_make_pictures_are_shown():
    text = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"    python -m breakascene {command}\n" not in text] == []
