"""YAML values that know their file and line, so that every error names both."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from breakascene.data.validation import read_text
from breakascene.errors import UserError


@dataclass(frozen=True, eq=False)
class YamlValue:
    """A value of a YAML file.

    Args:
        node: The parsed node.
        file: The file, for errors.
        name: Of the value, such as "prices.reshoot", for errors.
        within: The folder that no path may leave; None for any path.
    """

    node: yaml.Node
    file: Path
    name: str = ""
    within: Path | None = None

    @property
    def line(self) -> int:
        return self.node.start_mark.line + 1

    def error(self, sentence: str) -> UserError:
        """Return an error at this place."""
        return UserError(f"{self.file.name}, line {self.line}: {sentence}")

    def fields(self, known: Collection[str]) -> dict[str, "YamlValue"]:
        """Return the values of a mapping whose keys are among the known ones."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"{self.name or 'the file'} needs lines of the form key: value ({', '.join(known)}).")
        found = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise replace(self, node=key).error("a key has to be a word, such as photos.")
            place = replace(self, node=key, name=str(key.value))
            if key.value not in known:
                raise place.error(f'"{key.value}" is not known here: use {", ".join(known)}.')
            if key.value in found:
                raise place.error(f"{key.value} stands here for the second time: remove one of the two.")
            name = f"{self.name}.{key.value}" if self.name else key.value
            found[key.value] = replace(self, node=value, name=name)
        return found

    def items(self) -> list["YamlValue"]:
        """Return the values of a list, or a single value as a list of one."""
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        if not self.node.value:
            raise self.error(f"{self.name} is an empty list: write at least one value.")
        return [replace(self, node=node) for node in self.node.value]

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    def text(self, most: int = 500) -> str:
        """Return a text; a number or a word such as "yes" is taken as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"{self.name} needs a text.")
        text = self.node.value.strip()
        if not text or len(text) > most or not text.isprintable():
            raise self.error(f"{self.name} needs a text of 1 to {most} characters in one line.")
        return text

    def path(self) -> Path:
        """Return the path that a text names, from the file's folder on."""
        path = self.file.parent / self.text()
        if self.within and not path.resolve().is_relative_to(self.within.resolve()):
            raise self.error(f"{self.text()} lies outside the folder of the plan: give a path inside it.")
        return path

    def choice(self, choices: Collection[str]) -> str:
        text = self.text()
        if text not in choices:
            raise self.error(f'{self.name} is "{text}": choose {", ".join(choices)}.')
        return text

    def number(self, low: float, high: float) -> float:
        """Return a number in a range."""
        return float(self._number(low, high, (int, float), "a number"))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number in a range."""
        return self._number(low, high, int, "a whole number")

    def flag(self) -> bool:
        value = self._scalar()
        if not isinstance(value, bool):
            raise self.error(f'{self.name} is "{self._shown()}": write true or false.')
        return value

    def _number(self, low: float, high: float, kinds: Any, form: str) -> Any:
        value = self._scalar()
        if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(
                f'{self.name} is "{self._shown()}": write {form} from {low:.10g} to {high:.10g}, without units.'
            )
        return value

    def _scalar(self) -> Any:
        if not isinstance(self.node, yaml.ScalarNode):
            return None
        try:
            return yaml.SafeLoader("").construct_object(self.node)
        except (ValueError, yaml.YAMLError):  # such as a date of the 40th of May
            return self.node.value

    def _shown(self) -> str:
        return str(self.node.value)[:60] if isinstance(self.node, yaml.ScalarNode) else "a list or mapping"


def read_yaml(file: Path, within: Path | None = None) -> YamlValue:
    """Read a small YAML file, whose paths may not leave `within`. Raises UserError that names the line of an error."""
    try:
        text = read_text(file)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {file}: check the path.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not a small text file in UTF-8: give a plan in YAML.") from error
    try:
        # An anchor can make a small file stand for gigabytes, or contain itself
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise UserError(f"{file.name}, line {line}: references (*{event.anchor}) are not supported.")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file.name}, line {mark.line + 1}" if mark else file.name
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise UserError(
            f"{place}: this is not valid YAML ({problem}): check indentation, colons and quotes."
        ) from error
    if node is None:
        raise UserError(f"{file.name} is empty: write at least the line photos: FOLDER.")
    return YamlValue(node, file, within=within)


def optional(fields: dict[str, YamlValue], key: str, read: Callable[[YamlValue], Any], default: Any) -> Any:
    """Return the value of a key, or the default where the file does not have it."""
    return read(fields[key]) if key in fields else default
