"""What the studio says, in the visitor's language: words.NO_PHOTO is the sentence of that name in its table.

The tables are the modules words_en and words_ja. What programs, logs and the terminal read is English alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from breakascene.errors import TranslatableMessage, UserError, resource_error
from breakascene.studio.strings import en, ja

LANGUAGES = {"en": "English", "ja": "日本語"}
TABLES = {"en": en, "ja": ja}
language: ContextVar[str] = ContextVar("language", default="en")

TITLE = "Break-A-Scene Studio"
UNNAMED = "object"  # a name lends its word to the model, and that reads English
REMOVE = "✕"
OPEN = "The studio is open: {address} (Ctrl-C closes it)"
NO_MCP = 'The MCP server needs one more package: pip install "gradio[mcp]=={version}", or start without --mcp.'
NOT_LOCAL = (
    "The studio is open to every machine that can reach {host}, without a password: "
    "use --host 127.0.0.1 to keep it to this one, or --login NAME:PASSWORD."
)
LOGIN_BAD = "The login cannot be read: write it as NAME:PASSWORD, neither of them empty."
API_PHOTO = "There is no photo: give a picture file."
API_POINTS = "Give the points as [[x, y, true], …], true to include and false to leave out."
API_NAMES = "There are more names than masks: give each mask one name."
API_BOX = "Give the box as [x0, y0, x1, y1] in pixels of the photo."
API_STEPS = "Give the steps as [phase 1, phase 2], two whole numbers."


def text(name: str):
    """The text of that name in the visitor's language."""
    return getattr(TABLES[language.get()], name)


__getattr__ = text  # words.NO_PHOTO is text("NO_PHOTO")


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Inside, words are those of a language of LANGUAGES."""
    before = language.set(code)
    try:
        yield
    finally:
        language.reset(before)


def told(sentence: str) -> str:
    """A sentence of the package's core in the visitor's language; one that has no translation stays English."""
    form, values = (sentence.template, sentence.values) if isinstance(sentence, TranslatableMessage) else (sentence, {})
    translated = text("CORE").get(form)
    return translated.format(**values) if translated else sentence


def sentence_for(error: BaseException) -> str:
    """One sentence for an error: the user's own mistake as it says, any other plainly; the log keeps its details."""
    lack = resource_error(error) or resource_error(error.__cause__)  # which the core tells in words for a terminal
    if lack == "disk":
        return text("DISK_FULL")
    if isinstance(error, UserError) and not lack:
        return told(error.args[0])
    return text("OUT_OF_MEMORY") if lack == "memory" else text("UNEXPECTED")


def duration(seconds: float) -> str:
    """A rough, calm "about 2 min", "about 40 s"."""
    if seconds >= 90:
        return text("MINUTES").format(n=round(seconds / 60))
    return text("SECONDS").format(n=max(5, round(seconds / 5) * 5))
