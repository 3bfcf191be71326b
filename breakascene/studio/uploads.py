"""Uploads that fail: nothing of them stays on the disk, and a full disk is reported in one sentence."""

from contextlib import suppress
from pathlib import Path

from gradio import route_utils
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from breakascene.errors import resource_error
from breakascene.studio import strings

CUT_OFF, DISK_FULL = 400, 507  # HTTP status


class UploadParser(route_utils.GradioMultiPartParser):
    """Gradio's parser of uploads, which would leave the files of an upload that a full disk or its client ended."""

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException as error:
            self._delete_files()
            if resource_error(error) == "disk":
                raise HTTPException(DISK_FULL, strings.UPLOAD_DISK_FULL) from error
            if isinstance(error, ClientDisconnect):
                raise HTTPException(CUT_OFF, strings.UPLOAD_CUT_OFF) from error
            raise

    def _delete_files(self) -> None:
        for file in self._files_to_close_on_error:
            with suppress(OSError):  # closing writes what is left in the buffer
                file.close()
            Path(file.name).unlink(missing_ok=True)
        if self.upload_progress is not None:
            self.upload_progress.set_done(self.upload_id)


def use_parser() -> None:
    """Make Gradio's server use UploadParser."""
    route_utils.GradioMultiPartParser = UploadParser
