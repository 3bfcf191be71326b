"""The folders that the studio writes to: whether it can, and another one for uploads where it cannot."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from breakascene.errors import UserError
from breakascene.files import require_writable
from breakascene.studio import strings


def require_data_folder(folder: Path) -> None:
    """Raise UserError if the data folder cannot be created or written; leave no trace of the check."""
    try:
        require_writable(folder, "folder")
    except UserError as error:
        raise UserError(strings.DATA_FOLDER_UNWRITABLE.format(folder=folder.absolute())) from error


def upload_settings() -> dict[str, str]:
    """Return environment variables that move Gradio's uploads where /tmp/gradio belongs to another user."""
    usual = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")
    if not usual.exists() or os.access(usual, os.W_OK | os.X_OK):
        return {}
    own = tempfile.mkdtemp(prefix="gradio-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return {"GRADIO_TEMP_DIR": own}
