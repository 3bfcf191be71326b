"""Models from the Hugging Face hub: from its cache if they are complete there, and with an early answer offline."""

from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

TIMEOUT = 8  # seconds


def hub_snapshot(model: str, files: Sequence[str], complete: Callable[[Path], bool]) -> Path:
    """Return the folder with files of a hub model.

    Args:
        model: Its id, "owner/model".
        files: Patterns of the files to download.
        complete: Whether a folder of the cache has all that is needed.

    Raises:
        Exception: What the hub's client raises if the model is not in the cache and cannot be downloaded.
    """
    try:
        folder = Path(snapshot_download(model, allow_patterns=list(files), local_files_only=True))
        if complete(folder):
            return folder
    except (OSError, ValueError):
        pass  # not in the cache
    HfApi().model_info(model, timeout=TIMEOUT)  # fails fast without a network, where a download retries for minutes
    return Path(snapshot_download(model, allow_patterns=list(files)))
