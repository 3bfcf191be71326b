"""Model files of the Hugging Face Hub: from its cache on this machine, or downloaded with progress and verified."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import tqdm

from breakascene.errors import UserError, resource_error

TIMEOUT = 5  # seconds to wait for an answer of the hub; a look-up of two models then answers within 15 s
Progress = Callable[[int, int], None]  # bytes so far, bytes in all

OFFLINE, NO_ROOM, DAMAGED = "offline", "no room", "damaged"
CONFIGS = (  # of transformers models; all but the first two only for those with a text encoder
    "config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json",
)  # fmt: skip
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first one that the model has; read without running code


@dataclass(frozen=True)
class HubFile:
    """One file of a model on the hub; its size in bytes and its SHA-256 are None if they are not known beforehand."""

    repo: str
    path: str
    size: int | None = None
    sha256: str | None = None

    def cached(self) -> Path | None:
        """Return the file in the hub's cache, or None if it is not there or not whole."""
        path = try_to_load_from_cache(self.repo, self.path)
        if not isinstance(path, str) or not Path(path).is_file():
            return None
        return Path(path) if self.size in (None, Path(path).stat().st_size) else None


class DownloadFailed(UserError):
    """A download that failed, with the reason: OFFLINE, NO_ROOM or DAMAGED."""

    def __init__(self, reason: str, text: str, **values):
        super().__init__(text, **values)
        self.reason = reason


def download(file: HubFile, on_progress: Progress | None = None) -> Path:
    """Download a file into the hub's cache, whole or not at all; without `on_progress` a bar on stderr shows progress.

    Raises:
        DownloadFailed: If the hub cannot be reached, the cache cannot hold the file, or it arrives damaged.
    """
    if path := file.cached():
        return path
    with _reasons(file.repo):
        _require_connection()
        _require_room(file.repo, file.size or 0)
        bar = _reporting(on_progress) if on_progress else None
        # Forced, as a file of another size in the cache would be taken for whole
        path = Path(hf_hub_download(file.repo, file.path, tqdm_class=bar, force_download=True))
    if file.sha256 and _sha256(path) != file.sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise DownloadFailed(DAMAGED, "{file} of {model} arrived damaged: try again.", file=file.path, model=file.repo)
    return path


def cached_model(repo: str) -> Path | None:
    """Return the folder of a transformers model in the hub's cache, or None if it is not there or not whole."""
    weights = next(filter(None, (HubFile(repo, name).cached() for name in WEIGHTS)), None)
    return weights.parent if weights and all(HubFile(repo, name).cached() for name in CONFIGS[:2]) else None


def download_model(repo: str, on_progress: Progress | None = None) -> Path:
    """Download a transformers model into the hub's cache and return its folder.

    Raises:
        DownloadFailed: As `download` does.
    """
    if folder := cached_model(repo):
        return folder
    found = {file.path: file for file in _listed(repo)}
    names = [name for name in CONFIGS if name in found] + [name for name in WEIGHTS if name in found][:1]
    return _download_all([found[name] for name in names], on_progress)[-1].parent  # with the weights, it is whole


def download_files(repo: str, patterns: Sequence[str], on_progress: Progress | None = None) -> None:
    """Download the files of a model whose paths match one of the patterns into the hub's cache.

    Raises:
        DownloadFailed: As `download` does.
    """
    wanted = [file for file in _listed(repo) if any(fnmatchcase(file.path, pattern) for pattern in patterns)]
    _download_all(wanted, on_progress)


def _listed(repo: str) -> list[HubFile]:
    """The files that a model has on the hub."""
    with _reasons(repo):
        _require_connection()
        found = HfApi().model_info(repo, files_metadata=True, timeout=TIMEOUT).siblings
    return [HubFile(repo, one.rfilename, one.size, one.lfs.sha256 if one.lfs else None) for one in found]


def _download_all(files: Sequence[HubFile], on_progress: Progress | None) -> list[Path]:
    """Download the files one after another; the progress is that of all of them."""
    total, done, paths = sum(file.size or 0 for file in files), 0, []
    for file in files:
        report = on_progress and (lambda size, _, done=done: on_progress(done + size, total))
        paths.append(download(file, report))
        done += file.size or 0
    return paths


def _require_connection() -> None:
    """Fail fast: without a connection, the hub's client retries for half a minute."""
    get_session().head(constants.ENDPOINT, timeout=TIMEOUT)


def _require_room(repo: str, size: int) -> None:
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < size:
        raise _no_room(repo)


def _no_room(repo: str) -> DownloadFailed:
    return DownloadFailed(
        NO_ROOM,
        "There is no room for {model} in {folder}: free some space there, or set HF_HOME to a folder on another disk.",
        model=repo,
        folder=constants.HF_HUB_CACHE,
    )


@contextmanager
def _reasons(repo: str) -> Iterator[None]:
    """Turn the errors of the hub's client, and of the network libraries below it, into DownloadFailed."""
    try:
        yield
    except DownloadFailed:
        raise
    except Exception as error:
        if resource_error(error) in ("disk", "rights"):
            raise _no_room(repo) from error
        raise DownloadFailed(
            OFFLINE, "{model} could not be downloaded from the hub: connect to the internet and try again.", model=repo
        ) from error


def _reporting(on_progress: Progress) -> type[tqdm]:
    """Return a progress bar that shows nothing and reports its bytes."""

    class Reporting(tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "disable": True})
            self.done, self.all = options.get("initial") or 0, options.get("total") or 0

        def update(self, n: float = 1) -> None:
            self.done += n
            on_progress(int(self.done), int(self.all))

        def update_transfer(self, n: float) -> None:
            """Bytes on the network, fewer than those of the file: the hub's client then has one bar, not two."""

    return Reporting


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
