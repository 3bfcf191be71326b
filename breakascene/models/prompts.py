"""Parsing of prompts as people write them: handles in any spelling, object names, weights, and the token limit."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from breakascene.data.handle_names import BACKGROUND, name_handles
from breakascene.errors import TranslatableMessage, UserError
from breakascene.models.base import Base
from breakascene.models.handles import check_prompt

# Control characters except white space, and lone surrogates, which stand for bytes that are not UTF-8
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_OPEN = r"(?:\\?[<＜〈《‹«\[［【{｛]|&(?:amp;)?lt;)"
_CLOSE = r"(?:\\?[>＞〉》›»\]］】}｝]|&(?:amp;)?gt;)"
_BRACKETED = re.compile(rf"{_OPEN}\s*([^<>＜＞〈〉《》‹›«»\[\]［］【】{{}}｛｝&;\\]{{1,40}}?)\s*{_CLOSE}")
_BARE = re.compile(rf"{_OPEN}?(?<!\w)([aａ][sｓ][sｓ][eｅ][tｔ][0-9０-９]+)(?!\w){_CLOSE}?", re.IGNORECASE)
_WEIGHTS = (  # (a fox:1.3) and [a fox:0.5], then ((a fox))
    re.compile(r"[(（\[]\s*([^()（）\[\]]*[^()（）\[\]\d\s])\s*[:：]\s*\d?\d?\.?\d+\s*[)）\]]"),
    re.compile(r"\({2,}\s*([^()]*[^()\s])\s*\){2,}"),
)
_SHOWN = 60  # characters of what is ignored
# Common words of prompts, which do not stand for an object of that name
_COMMON = frozenset(
    "a an the of in on at and with photo photograph picture image painting drawing object thing".split()
)


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt with exact handles, and notes for the user about what was changed or is ignored."""

    text: str
    notes: tuple[TranslatableMessage, ...] = ()


def parse_prompt(
    prompt: str,
    handles: Sequence[str],
    names: Sequence[str] = (),
    base: Base | None = None,
    plain_names: bool = True,
) -> ParsedPrompt:
    """Normalize a prompt to the exact handles of a run; a prompt that has only those is returned unchanged.

    Handles are understood in full width, upper case, other brackets or none, with spaces, or escaped for HTML, and as
    names in brackets, "<teapot>" or "<owl-2>", see name_handles. Without brackets, an object's name stands for its
    handle if it is a whole word of the prompt, is neither quoted nor a common word of prompts, names one object only,
    and the handle is not in the prompt already.

    Args:
        prompt: The prompt, or a negative prompt.
        handles: The handles of the run.
        names: The plain names of the objects, in the order of the handles; without them, names are plain words, also in
            brackets.
        plain_names: Whether names without brackets stand for handles.
        base: The base, for a note about words beyond its token limit.

    Raises:
        UserError: For an unknown handle, and for characters that are not text.
    """
    if _NO_TEXT.search(prompt):
        raise UserError("The prompt has characters that are not text: remove them, or type the prompt again.")
    notes: list[TranslatableMessage] = []
    text = _exact_handles(prompt, handles, names)
    text = _without_weights(text, notes)
    if plain_names:
        text = _names_to_handles(text, handles, names, notes)
    check_prompt(text, handles)
    if base is not None and (rest := words_beyond_limit(base, text, handles)):
        notes.append(
            TranslatableMessage(
                '{base} reads only the first {limit} tokens of a prompt, so "{rest}" is ignored.',
                base=base.name, limit=base.tokenizer.model_max_length,
                rest=rest if len(rest) <= _SHOWN else f"{rest[:_SHOWN].rstrip()}…",
            )
        )  # fmt: skip
    return ParsedPrompt(text, tuple(notes))


def words_beyond_limit(base: Base, prompt: str, handles: Sequence[str]) -> str:
    """Return the end of the prompt that lies beyond the token limit of the base, or ""."""
    tokenizer = base.tokenizer
    limit = tokenizer.model_max_length - len(tokenizer("").input_ids)  # without the start and end tokens
    known = "|".join(map(re.escape, handles)) or r"(?!)"
    count = 0
    for piece in re.finditer(rf"{known}|(?:(?!{known})\S)+", prompt):
        is_handle = piece[0] in handles
        count += 1 if is_handle else len(tokenizer(piece[0], add_special_tokens=False, verbose=False).input_ids)
        if count > limit:
            return prompt[piece.start() :]
    return ""


def _exact_handles(prompt: str, handles: Sequence[str], names: Sequence[str]) -> str:
    if not handles:
        return prompt
    named = list(zip(name_handles(handles[: len(names)], names), handles, strict=False))
    known = {alias[1:-1].replace("-", ""): handle for alias, handle in reversed(named)}  # <teddy bear>
    known |= {alias[1:-1]: handle for alias, handle in named}  # <teddy-bear>
    known |= {_stem(handle[1:-1]): handle for handle in handles}

    def exact(match: re.Match) -> str:
        stem = _stem(match[1])
        if stem in known:
            return known[stem]
        return f"<{stem}>" if re.fullmatch(r"asset\d+", stem) else match[0]

    return _BARE.sub(exact, _BRACKETED.sub(exact, prompt))


def _stem(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _without_weights(prompt: str, notes: list[TranslatableMessage]) -> str:
    def plain(match: re.Match) -> str:
        notes.append(
            TranslatableMessage(
                'Prompt weights are not supported: "{weighted}" is read as "{plain}".',
                weighted=match[0], plain=match[1],
            )
        )  # fmt: skip
        return match[1]

    for weight in _WEIGHTS:
        prompt = weight.sub(plain, prompt)
    return prompt


def _names_to_handles(
    prompt: str, handles: Sequence[str], names: Sequence[str], notes: list[TranslatableMessage]
) -> str:
    named: dict[str, list[str]] = {}
    for handle, name in zip(handles, names, strict=False):
        key = " ".join(name.casefold().split())
        if handle != BACKGROUND and len(key) > 1 and key not in _COMMON:
            named.setdefault(key, []).append(handle)
    if not named:
        return prompt
    longest_first = sorted(named, key=len, reverse=True)
    any_name = "|".join(r"\s+".join(map(re.escape, key.split())) for key in longest_first)
    pattern = re.compile(rf"""(?<![\w<"“'’-])((?:an?|the)\s+)?({any_name})(?![\w>"”'’-])""", re.IGNORECASE)

    def handle_of_name(match: re.Match) -> str:
        found = named[" ".join(match[2].casefold().split())]
        if any(handle in prompt for handle in found):
            return match[0]
        if len(found) > 1:
            note = TranslatableMessage(
                'Several objects are named "{name}": write {handles} instead.',
                name=match[2], handles=" / ".join(found),
            )  # fmt: skip
        else:
            note = TranslatableMessage('"{name}" is read as {handle}.', name=match[2], handle=found[0])
        if note not in notes:
            notes.append(note)
        return found[0] if len(found) == 1 else match[0]

    return pattern.sub(handle_of_name, prompt)
