"""UI texts in the user's language: `strings.NO_PHOTO` is the text of that name in the active language's table.

The tables are en.py and ja.py. Messages for the API, the logs and the terminal are English only and stand here.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from breakascene.errors import TranslatableMessage, UserError, resource_error
from breakascene.studio.strings import en, ja

LANGUAGES = {"en": "English", "ja": "日本語"}
TABLES = {"en": en, "ja": ja}
language: ContextVar[str] = ContextVar("language", default="en")

TITLE = "Break-A-Scene Studio"
DEFAULT_NAME = "object"  # English in every language: a handle starts at the embeddings of its name
REMOVE_SYMBOL = "✕"
STUDIO_ADDRESS = "The studio is open at {address} (press Ctrl-C to stop it)"
MCP_MISSING = (
    'The MCP server requires another package: run pip install "gradio[mcp]=={version}", or start without --mcp.'
)
NO_PASSWORD_WARNING = (
    "The studio is open without a password to every machine that can reach {host}: "
    "add --login NAME:PASSWORD, or use --host 127.0.0.1 to restrict it to this machine."
)
DATA_FOLDER_UNWRITABLE = (
    "The studio cannot write to its data folder {folder}: set BREAKASCENE_DATA to a folder that it can write to."
)
INVALID_LOGIN = "The login is invalid: write it as NAME:PASSWORD, with neither part empty."
LOGIN_AND_USERS = "A login and a file of users exclude each other: give --login or --users."
INVALID_USERS_FILE = "{file} is not a file of users: make one with the command users add."
INVALID_LIMIT = "The variable {name} is {value}: set it to a number above 0, or remove it."
INVALID_SWITCH = "The variable {name} is {value}: set it to on or off, or remove it."
HOST_NOT_TRUSTED = "This studio does not answer to the host name {host}: start it with --trusted-hosts and that name."
OTHER_ORIGIN = "A page of another site cannot use this studio: open the studio's own address."
OUTSIDE_FILE = "The studio does not fetch files from other servers: upload the file."
BODY_TOO_LARGE = "The request is too large: send less data, and photos as uploads."
UPLOAD_CUT_OFF = "The upload ended early: send the file again."
UPLOAD_DISK_FULL = "The disk of the studio is full: free some space, then send the file again."
TOO_MANY_LOGINS = "There were too many failed logins: wait a few minutes, then try again."
LOGIN_REQUIRED = "A login is required: send the name and the password by HTTP Basic authentication."
API_DATA_URL = "The file is not a valid data URL: send it as data:image/png;base64, followed by its bytes in base64."
API_FILE = "The file is unknown: send a data URL, the address of an upload to this studio, or an id it returned before."
API_PHOTO = "There is no photo: give an image file."
API_POINTS = "Give the points as [[x, y, true], …], with true to include and false to exclude."
API_NAMES = "There are more names than masks: give one name for each mask."
API_REGION = "Give the region to repaint, either as a mask or as a box."
API_FORMATS = 'Give the formats as a list: ["shop", "cutout"].'
API_TEXTS = 'Give places and styles as lists of texts: ["at the beach", "in the snow"].'
API_SHEET = "Give at least one place or style: each is a row of the sheet."
API_BOX = "Give the box as [x0, y0, x1, y1] in pixels of the photo."
API_CONSENT = 'Give the consent as {"shown": true, "who": "…", "scope": "…", "until": "YYYY-MM-DD"}, or leave it out.'
API_LAYOUT = "A layout and an image to start from exclude each other: give one of them."
API_STEPS = "Give the steps as [phase 1, phase 2], two whole numbers."


def get_text(name: str):
    """Return the text of that name in the active language."""
    return getattr(TABLES[language.get()], name)


__getattr__ = get_text  # strings.NO_PHOTO is get_text("NO_PHOTO")


@contextmanager
def use_language(code: str) -> Iterator[None]:
    """Make a language of LANGUAGES the active one inside the `with` block."""
    before = language.set(code)
    try:
        yield
    finally:
        language.reset(before)


def translate(sentence: str) -> str:
    """Translate a message of another package; one without a translation stays as it is."""
    form, values = (sentence.template, sentence.values) if isinstance(sentence, TranslatableMessage) else (sentence, {})
    translated = get_text("MESSAGES").get(form)
    return translated.format(**values) if translated else sentence


def message_for(error: BaseException) -> str:
    """Return the message to show for an error.

    A UserError is shown in translation. Lack of memory or disk space gets a text of the studio, since the UserError of
    those cases names command-line options. Any other error is only called unexpected; the log has its details.
    """
    lack = resource_error(error) or resource_error(error.__cause__)
    if lack == "disk":
        return get_text("DISK_FULL")
    if isinstance(error, UserError) and not lack:
        return translate(error.args[0])
    return get_text("OUT_OF_MEMORY") if lack == "memory" else get_text("UNEXPECTED")


def format_duration(seconds: float) -> str:
    """Format a duration, rounded as in "about 2 min" or "about 40 s"."""
    if seconds >= 90:
        return get_text("MINUTES").format(n=round(seconds / 60))
    return get_text("SECONDS").format(n=max(5, round(seconds / 5) * 5))


def join_names(names: Iterable[str]) -> str:
    """Join names as the active language lists them: "fox, mug" or 「fox、mug」."""
    return get_text("LIST_SEPARATOR").join(names)
