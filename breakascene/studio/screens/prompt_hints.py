"""Hints while a prompt is written: how it is understood, and what to change before images are generated."""

import re
import unicodedata
from collections.abc import Sequence
from html import escape

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError
from breakascene.models.prompts import parse_prompt, words_beyond_limit
from breakascene.studio import loaded, strings
from breakascene.studio.screens import prompt_builder
from breakascene.studio.state.run_store import ChosenRuns
from breakascene.toybox.vocabulary import ALL_NAMES, ALL_PLACES, STYLES

KNOWN_WORDS = frozenset(" ".join((*ALL_NAMES, *ALL_PLACES, *STYLES)).split()) | frozenset(
    "a an the and of photo".split()
)
# Small words of German, French, Spanish, Italian and Portuguese that English has not; two of them tell the language
FOREIGN_WORDS = frozenset(
    "auf dem der das des und mit ein eine einem einer eines im unter vor neben über ohne "
    "le les une et sur dans avec sous du au aux "
    "el los las y con una un sobre bajo del en "
    "il gli e su nel nella sotto di uno "
    "os uma em na com da".split()
)
MAX_WORDS = 4  # unknown words that are named
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
HANDLE = re.compile(r"(<[^<>\s]+>)")
HANDLE_OF = re.compile(rf"{HANDLE.pattern}(['’]s\b)?")  # with its genitive


def hints_html(runs: ChosenRuns | None, text: str, negative: str) -> str:
    """The prompt with the objects as chips, and the hints below it."""
    if runs is None or not (text or "").strip():
        return ""
    understood, hints = understand(runs, text, negative)
    names = dict(zip(runs.handles, runs.names, strict=True))
    parts = HANDLE.split(understood)
    shown = "".join(f'<span class="chip">{escape(names[p])}</span>' if p in names else escape(p) for p in parts)
    notes = "".join(f"<li>{escape(hint)}</li>" for hint in hints)
    return f'<p class="understood">{shown}</p>' + (f"<ul>{notes}</ul>" if notes else "")


def understand(runs: ChosenRuns, text: str, negative: str) -> tuple[str, list[str]]:
    """The prompt with exact handles, and a sentence for everything that may not come out as expected.

    Args:
        runs: Whose handles the prompt uses.
        text: One or more prompts, one a line.
        negative: The negative prompt.
    """
    lines, hints = [], []
    for line in filter(None, (" ".join(line.split()) for line in text.splitlines())):
        try:
            parsed = parse_prompt(line, runs.handles, runs.names, loaded.base())
        except UserError as error:
            lines.append(line)
            hints.append(strings.message_for(error))
            continue
        lines.append(parsed.text)
        rest = words_beyond_limit(loaded.base(), parsed.text, runs.handles)
        cut = [handle for handle in runs.handles if handle in rest]
        hints += [strings.HINT_CUT_OFF.format(handle=handle) for handle in cut]
        if not cut:
            hints += map(strings.translate, parsed.notes)
        hints += object_hints(runs, parsed.text, negative) + word_hints(parsed.text)
    return "\n".join(lines), list(dict.fromkeys(hints))


def object_hints(runs: ChosenRuns, prompt: str, negative: str) -> list[str]:
    """Hints about objects that are missing, only in the negative prompt, or named twice."""
    handles = prompt_builder.object_handles(runs.handles)
    try:
        negative = parse_prompt(negative or "", runs.handles, runs.names).text
    except UserError as error:
        return [strings.message_for(error)]
    names = dict(zip(runs.handles, runs.names, strict=True))
    hints = [
        strings.HINT_ONLY_NEGATIVE.format(name=names[handle])
        for handle in handles
        if handle in negative and handle not in prompt
    ]
    if not hints and not any(handle in prompt for handle in (*handles, BACKGROUND)):
        hints.append(strings.HINT_NO_OBJECT)
    hints += [strings.HINT_TWICE.format(name=names[handle]) for handle in handles if prompt.count(handle) > 1]
    return hints


def word_hints(prompt: str) -> list[str]:
    """Hints about another language and, on the toybox, about words that it does not know."""
    words = WORD.findall(HANDLE_OF.sub(" ", prompt))
    small = {word.casefold() for word in words} & FOREIGN_WORDS
    if len(small) > 1 or any(is_foreign(word) for word in words):
        return [strings.HINT_ENGLISH]
    if not loaded.is_toybox():
        return []
    unknown = list(dict.fromkeys(word for word in words if word.casefold() not in KNOWN_WORDS))
    return [strings.HINT_UNKNOWN_WORDS.format(words=strings.join_names(unknown[:MAX_WORDS]))] if unknown else []


def is_foreign(word: Sequence[str]) -> bool:
    """Whether a word has letters of another script than Latin."""
    return any(not unicodedata.name(letter, "").startswith("LATIN") for letter in word if letter.isalpha())
