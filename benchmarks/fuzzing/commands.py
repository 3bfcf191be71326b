"""Fuzz targets: every option of every command, in the process itself."""

import os
import shutil
from pathlib import Path
from random import Random
from typing import Literal, get_args, get_origin

import typer
from typer.testing import CliRunner

from benchmarks.fuzzing.case import Case
from benchmarks.fuzzing.images import image_file
from breakascene.cli.app import app

# A valid call of each command that ends within a second or two. The slow ones are always refused: `demo` has a folder
# with other files in its way, and `studio` a base that does not exist.
VALID = {
    "segment": "photo.png --out new.png --point 28,54 --sam toybox",
    "extract": "photo.png --mask ball.png:ball --out new --base base --steps 1,0 --seed 3 --preset quick --memory auto",
    "generate": "run PROMPT --out new --count 1 --seed 1 --steps 1 --guidance 2 --negative dark --size 128x128",
    "export": "run --to kohya --out new",
    "evaluate": "run --prompts prompts.txt --out new --count 1 --seed 1 --guidance 2",
    "verify": "generated.png",
    "demo": "--out scene",
    "studio": "--base ./nowhere --host 127.0.0.1",
}
PROMPT = "a photo of <asset0>"
WHOLE = ("0", "1", "2", "3", "7", "4294967295")
FLOATS = ("0.5", "1e3", "-1", "nan", "inf", "1e-300")
NUMBERS = (
    "0", "1", "-1", "2", "1.5", "1e3", "9" * 30, "nan", "inf", "-inf", "0x10", "1_0", "１", "²", " 1", "", "1,0",
    "0,0", "1,0,0", "-1,5", "1,nan", "28,54", "28,54,-", "28,54,+", "nan,1", "1e9,1", "0,0,40,40", "40,40,0,0",
    "-5,-5,500,500", "128x128", "64x64", "128X96", "0x0", "99999x99999", "128x", "4294967295", "4294967296",
)  # fmt: skip
TEXTS = (
    "", " ", "a photo", "<asset0>", "<asset9>", "< asset0 >", "<ASSET0>", "(<asset0>:1.3)", "<asset0><asset1>", "{x}",
    "a photo of ball", "x " * 300, "😀 日本語", "\ud800", "a\nb", "<", ">", "<>", "--", "-", "%s%n", "quick", "light",
    "fast", "kohya", "diffusers", "a1111", "toybox", "vit_b", "nobody/nothing", "NAME:", ":x", "a:b", "0.0.0.0",
    "256.1.1.1", "host",
)  # fmt: skip
PATHS = (
    "photo.png", "ball.png", "labels.png", "odd.png", "run", "run.zip", "scene", "base", "sam", "sam.pth",
    "prompts.txt", "kohya.safetensors", "diffusers.safetensors", "embedding.safetensors", "generated.png", "gone",
    "gone/deeper", ".", "..", "", "link", "loop", "pipe", "/dev/null", "/proc/x", "new.png", "new", "new/deep/er",
    "a b#c?d%e", "x" * 300, "ball.png:cup", "ball.png#1", "labels.png#1:mug", "labels.png#9", "ball.png:<x>",
    "kohya.safetensors:0.5", "kohya.safetensors:nan", "kohya.safetensors:99", "~", "run/",
    "./run/../run", "photo.png/x",
)  # fmt: skip


def command(rng: Random, inputs: Path, folder: Path) -> Case:
    """Call a command with one to three changes to the arguments of a valid call."""
    shutil.copytree(inputs, folder, copy_function=os.link, dirs_exist_ok=True)  # all writers replace whole files
    image_file(rng, folder / "odd.png")
    (folder / "link").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    name = rng.choice([*COMMANDS, "extract", "generate", "segment"])
    arguments = [PROMPT if word == "PROMPT" else word for word in VALID.get(name, "").split()]
    for _ in range(rng.choice((1, 1, 2, 3))):
        arguments = changed(rng, name, arguments)
    return Case(Call([name, *arguments], folder), lambda: Call([name, *arguments], folder).parses())


COMMANDS = typer.main.get_command(app).commands
OBSTACLES = ("scene", "run", "photo.png", "photo.png/x", "/proc/x", "..", ".", "loop", "pipe", "/dev/null", "x" * 300)


def changed(rng: Random, name: str, arguments: list[str]) -> list[str]:
    """Change, add, remove or repeat an option or a value."""
    if name == "demo":  # where nothing is in its way, it runs for minutes
        return ["--out", rng.choice(OBSTACLES)]
    parameters = {text: p for p in COMMANDS[name].params for text in p.opts if text.startswith("--")}
    arguments = list(arguments)
    position, action = rng.randrange(len(arguments) + 1), rng.randrange(6)
    if name == "studio":  # its base keeps it from starting
        parameters.pop("--base")
        position, action = len(arguments), 4
    if action < 3 and position < len(arguments) and not arguments[position].startswith("--"):
        option = arguments[position - 1] if position else ""
        arguments[position] = value(rng, parameters.get(option))
    elif action == 3 and position < len(arguments):
        del arguments[position]
    elif parameters:
        option = rng.choice(sorted(parameters))
        arguments += [option] if parameters[option].is_flag else [option, value(rng, parameters[option])]
    return arguments


def value(rng: Random, parameter) -> str:
    """A value for an option, or for an argument if it is None; mostly one that has the option's form."""
    kind = parameter.type_descriptor.annotation if parameter else Path
    if get_origin(kind) is Literal and rng.random() < 0.8:
        return rng.choice(get_args(kind))
    if kind in (int, float) and rng.random() < 0.8:
        return rng.choice(WHOLE if kind is int else WHOLE + FLOATS)
    return rng.choice(rng.choice((NUMBERS, TEXTS, PATHS, PATHS)))


class Call:
    """A call of the command line in a folder: exit status 0, or 2 with a last line on stderr that says why."""

    def __init__(self, arguments: list[str], folder: Path):
        self.arguments, self.folder = arguments, folder

    def __repr__(self) -> str:
        return f"breakascene {self.arguments}"

    def parses(self) -> bool:
        """Whether the arguments have the right form, whatever their values are."""
        try:
            typer.main.get_command(app).make_context("breakascene", list(self.arguments)).close()
            name, *rest = self.arguments
            COMMANDS[name].make_context(name, rest).close()
        except Exception:
            return False
        return True

    def __call__(self) -> None:
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            result = CliRunner().invoke(app, self.arguments)
        finally:
            os.chdir(before)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        lines = result.stderr.splitlines()
        if result.exit_code == 2 and lines and "Traceback" not in result.stderr:
            raise Refused(lines[-1])  # notes on the prompt may stand before it
        statuses = (0, 1) if self.arguments[0] == "verify" else (0,)  # 1: not signed, which is an answer
        assert result.exit_code in statuses, f"exit status {result.exit_code}: {result.stderr!r}"


class Refused(Exception):
    """The command ended with one line that says why."""
