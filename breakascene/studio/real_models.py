"""The models for real photos (SAM, CLIP, DINO): what is missing and why, and downloads in the background."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from huggingface_hub import constants

from breakascene import hub
from breakascene.errors import UserError
from breakascene.evaluation import judges
from breakascene.hub import DownloadFailed
from breakascene.segmentation import checkpoints
from breakascene.segmentation.checkpoints import SMALL
from breakascene.segmentation.segmenter import Segmenter

log = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 60.0, 3600.0  # seconds until a failed download is tried again; each delay doubles
SEGMENTER, JUDGES = "segmenter", "judges"


@dataclass(frozen=True)
class Missing:
    """A model that is not in use yet.

    Args:
        name: The model.
        done: Share of the download, 0..1.
        note: Why it is not used, and what to do about it; "" while it is being downloaded.
        retried: Whether the studio tries again to download it.
    """

    name: str
    done: float = 0.0
    note: str = ""
    retried: bool = False


_missing: dict[str, Missing] = {}  # SEGMENTER and JUDGES


def missing() -> dict[str, Missing]:
    """The models that are not in use, by SEGMENTER and JUDGES; empty once all are."""
    return dict(_missing)


def downloading() -> bool:
    """Whether a model may still come into use."""
    return any(not model.note for model in missing().values())


def open_segmenter(family: str, device: str | None) -> Segmenter:
    """Load the segmenter for a base of a model family: the small one if SAM has to be downloaded or is damaged."""
    _missing.pop(SEGMENTER, None)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    name, note = checkpoints.fitting(checkpoints.auto_name(family), torch.device(device))
    if note:
        _missing[SEGMENTER] = Missing(name, note=note)
    if checkpoints.needs_download(name):
        _missing[SEGMENTER] = Missing(name)
        name = SMALL
    try:
        return Segmenter.load(name, device)
    except UserError as error:
        log.warning("%s", error)
        _missing[SEGMENTER] = Missing(name, note=checkpoints.fallback_note(name, error))
        return Segmenter.load(SMALL, device)


def check_judges(family: str) -> None:
    """Note which judges have to be downloaded for a base of a model family."""
    _missing.pop(JUDGES, None)
    if family != judges.TOYBOX and (names := judges.missing()):
        _missing[JUDGES] = Missing(judges.LABELS[names[0]])


def start_downloads(device: str | None, use_segmenter: Callable[[Segmenter], None]) -> threading.Thread:
    """Start to download what is missing, SAM first; use_segmenter(sam) is called once SAM is loaded.

    What fails is tried again after a minute, then after two, four, …, at most an hour.
    """
    work = partial(_download_all, _missing, device, use_segmenter, FIRST_DELAY)
    thread = threading.Thread(target=work, name="downloads", daemon=True)
    thread.start()
    return thread


def _download_all(
    expected: dict[str, Missing], device: str | None, use_segmenter: Callable[[Segmenter], None], delay: float
) -> None:
    if expected is not _missing:  # of a test that has ended
        return
    steps = {
        SEGMENTER: (lambda name: _download_segmenter(name, device, use_segmenter), checkpoints.fallback_note),
        JUDGES: (_download_judges, lambda name, error: judges.fallback_note(judges.missing()[0], error)),
    }
    for kind, (work, note) in steps.items():
        model = _missing.get(kind)
        if model is None or (model.note and not model.retried):
            continue
        try:
            work(model.name)
            _missing.pop(kind, None)
        except Exception as error:  # the studio goes on with the small models
            log.warning("%s: %s", _missing[kind].name, error)
            retried = isinstance(error, DownloadFailed) and not constants.HF_HUB_OFFLINE
            _missing[kind] = Missing(_missing[kind].name, note=note(_missing[kind].name, error), retried=retried)
    if any(model.retried for model in missing().values()):
        again = partial(_download_all, expected, device, use_segmenter, min(2 * delay, LAST_DELAY))
        timer = threading.Timer(delay, again)
        timer.daemon = True
        timer.start()


def _download_segmenter(name: str, device: str | None, use_segmenter: Callable[[Segmenter], None]) -> None:
    checkpoints.download(name, lambda done, total: _report(SEGMENTER, name, done, total))
    use_segmenter(Segmenter.load(name, device))


def _download_judges(_: str) -> None:
    for name in judges.missing():
        label = judges.LABELS[name]
        _report(JUDGES, label, 0, 1)
        hub.download_model(name, lambda done, total, label=label: _report(JUDGES, label, done, total))


def _report(kind: str, name: str, done: int, total: int) -> None:
    _missing[kind] = Missing(name, done / max(1, total))
