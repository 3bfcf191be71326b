"""The endpoints of api.py as tools of the Model Context Protocol, by streamable HTTP.

Gradio's own MCP server cannot take lists of files, asks for no login, and gives all its clients one session. Here each
client has a session of its own for as long as it is connected, or that of the token in its header X-Session.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import anyio
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent, TextContent
from pydantic import Field

from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.generation.edit import STRENGTH
from breakascene.generation.formats import NAMES
from breakascene.studio import strings
from breakascene.studio.api import CONSENT, POLL_SECONDS, Endpoints, errors_as_sentences
from breakascene.studio.jobs import FAILED, Job
from breakascene.studio.login import basic_credentials
from breakascene.studio.state.deletion import note_uploads
from breakascene.studio.state.session import Session
from breakascene.studio.visitor import acting, record_download

MAX_CLIENTS = 1000
KEPT_FILES = 32  # photos and masks of a session that can be named by their ids

INSTRUCTIONS = (
    "Break-A-Scene learns the objects of one photo and generates them in new images. Call `segment` for each object, "
    "`extract` with the photo and the masks, then `generate` with the run and a prompt that uses the handles, such as "
    "<asset0>. A photo or mask is a data URL (data:image/png;base64,…), the address that an upload to this studio "
    "returned, or the id that an earlier call returned for it."
)
File = Annotated[str, Field(description="A data URL, the address of an upload, or an id returned by an earlier call.")]


def build(endpoints: Endpoints, uploads: set[str], max_body: int) -> FastMCP:
    """Build the server with its tools; its `session_manager` handles requests.

    Args:
        max_body: Bytes of a message.
        uploads: Paths of the files that were uploaded to the studio.
    """
    server = FastMCP(
        strings.TITLE,
        INSTRUCTIONS,
        max_request_body_size=max_body,
        max_sessions=MAX_CLIENTS,
        log_level="WARNING",
        # protection.py checks the hosts of all requests
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    tools = Tools(endpoints, uploads)
    for tool in (
        tools.segment, tools.extract, tools.generate, tools.sheet, tools.edit, tools.crop, tools.export
    ):  # fmt: skip
        server.add_tool(tool, structured_output=False)
    server.streamable_http_app()  # creates the session manager
    return server


class Tools:
    """The tools; their docstrings and argument names are those that clients see."""

    def __init__(self, endpoints: Endpoints, uploads: set[str]):
        self.endpoints, self.uploads = endpoints, uploads

    async def segment(
        self,
        context: Context,
        photo: File,
        points: Annotated[
            list[list[float]], Field(description="[x, y, 1 if on the object, else 0], … in pixels of the photo")
        ] = [],  # noqa: B006 (the schema shows the default; nothing changes it)
        box: Annotated[list[float] | None, Field(description="[x0, y0, x1, y1] around the object, in pixels")] = None,
    ) -> CallToolResult:
        """Segment the object under points or in a box.

        Returns the mask with its id, the id of the photo, and the predicted IoU of the three candidate masks.
        """

        def act(session: Session) -> CallToolResult:
            file = self.file_of(session, photo)
            path, scores = self.endpoints.segment(session, file, points, box)
            mask = keep(session, Path(path).read_bytes())
            return result({"photo": keep_photo(session, file), "mask": mask.name, "scores": scores}, [mask])

        return await self.call(context, act)

    async def extract(
        self,
        context: Context,
        photo: File,
        masks: Annotated[list[str], Field(description="One mask for each object: ids, data URLs or uploads.")],
        names: Annotated[list[str], Field(description='Plain nouns, one for each mask: ["fox", "mushroom"]')] = [],  # noqa: B006
        background: Annotated[bool, Field(description="Also extract the scene around the objects.")] = False,
        preset: Annotated[str, Field(description="quick, light (better) or paper (slow)")] = "quick",
        steps: Annotated[list[int] | None, Field(description="[phase 1, phase 2]; by default the preset's")] = None,
        seed: int = 0,
        consent: Annotated[dict | None, Field(description=CONSENT)] = None,
    ) -> CallToolResult:
        """Extract the objects under the masks: fine-tune the base model on them. Takes minutes, and reports progress.

        Returns the id of the run, its handles to use in prompts, and the token of the session.
        """

        def submit(session: Session) -> Job:
            files = [self.file_of(session, mask) for mask in masks]
            options = (names, background, preset, steps, seed, consent)
            return self.endpoints.submit_extraction(session, self.file_of(session, photo), files, *options)

        job = await self.call(context, submit)
        total, handles = job.details.total, job.details.names
        await self.follow(context, job, total)
        return result({
            "run": job.result, "handles": list(handles), "state": job.state, "step": len(job.events),
            "total": total, "session": job.owner,
        })  # fmt: skip

    async def generate(
        self,
        context: Context,
        run: Annotated[str, Field(description="The id that `extract` returned, or several, separated by commas.")],
        prompt: Annotated[str, Field(description="For example: a photo of <asset0> at the beach")],
        count: Annotated[int, Field(description="1 to 16 images")] = 1,
        seed: int = 0,
        steps: Annotated[int, Field(description="Denoising steps, 1 to 100")] = 20,
        guidance: Annotated[float | None, Field(description="Guidance scale; by default the base model's")] = None,
        negative: Annotated[str, Field(description="What to keep out of the image.")] = "",
        shape: Annotated[str, Field(description="square, wide or tall")] = "square",
        upscale: Annotated[bool, Field(description="Double the width and height of each image")] = False,
    ) -> CallToolResult:
        """Generate images from a run and a prompt with its handles. Reports progress. Returns PNG images."""

        options = (run, prompt, count, seed, steps, guidance, negative, shape)
        job = await self.call(
            context, lambda session: self.endpoints.submit_generation(session, *options, upscale=upscale)
        )
        return await self.images_of(context, job)

    async def sheet(
        self,
        context: Context,
        run: Annotated[str, Field(description="The id that `extract` returned, or several, separated by commas.")],
        places: Annotated[list[str], Field(description='Each is a row: ["at the beach", "in the snow"]')] = [],  # noqa: B006
        styles: Annotated[list[str], Field(description='["a photo", "a painting"]; by default photos')] = [],  # noqa: B006
        count: Annotated[int, Field(description="Images of each object in each style and place")] = 1,
        seed: int = 0,
        steps: Annotated[int, Field(description="Denoising steps, 1 to 100")] = 20,
        guidance: Annotated[float | None, Field(description="Guidance scale; by default the base model's")] = None,
        negative: Annotated[str, Field(description="What to keep out of the images.")] = "",
        shape: Annotated[str, Field(description="square, wide or tall")] = "square",
    ) -> CallToolResult:
        """Generate each object of a run in each style and place, up to 48 images from one seed. Reports progress.

        Returns a contact sheet and the images as PNG.
        """
        options = (run, places, styles, count, seed, steps, guidance, negative, shape)
        job = await self.call(context, lambda session: self.endpoints.submit_sheet(session, *options))
        await self.follow(context, job, job.details.count)
        if not job.events:  # stopped before the first image
            return await self.images_of(context, job)
        sheet = await self.call(context, lambda session: record_download(session.gallery.sheet))
        return await self.images_of(context, job, sheet)

    async def edit(
        self,
        context: Context,
        run: Annotated[str, Field(description="The id that `extract` returned, or several, separated by commas.")],
        photo: File,
        prompt: Annotated[str, Field(description="The region and its surroundings: a photo of <asset0> on a table")],
        mask: Annotated[str | None, Field(description="The region: an id, a data URL or an upload.")] = None,
        box: Annotated[list[float] | None, Field(description="Or the region as [x0, y0, x1, y1], in pixels")] = None,
        count: Annotated[int, Field(description="1 to 16 images")] = 1,
        seed: int = 0,
        steps: Annotated[int, Field(description="Denoising steps, 1 to 100")] = 20,
        guidance: Annotated[float | None, Field(description="Guidance scale; by default the base model's")] = None,
        negative: Annotated[str, Field(description="What to keep out of the image.")] = "",
        strength: Annotated[float, Field(description="Above 0 to 1: less keeps shapes and colors")] = STRENGTH,
        consent: Annotated[dict | None, Field(description=CONSENT)] = None,
    ) -> CallToolResult:
        """Repaint a region of a photo by a prompt; the rest stays as it is. Reports progress. Returns PNG images."""

        def submit(session: Session) -> Job:
            files = [file and self.file_of(session, file) for file in (photo, mask)]
            options = (box, strength, consent, count, seed, steps, guidance, negative)
            return self.endpoints.submit_edit(session, run, files[0], prompt, files[1], *options)

        return await self.images_of(context, await self.call(context, submit))

    async def crop(
        self,
        context: Context,
        image: File,
        formats: Annotated[list[str], Field(description=f"Of {', '.join(NAMES)}; cutout has a transparent background")],
        upscale: Annotated[bool, Field(description="Upscale an image of yours that is smaller than a format")] = False,
    ) -> CallToolResult:
        """Crop an image to formats of listings and media, with its objects in the frame. Returns PNG images."""
        job = None
        if upscale:
            job = await self.call(
                context,
                lambda session: self.endpoints.submit_upscaling(session, self.file_of(session, image), formats),
            )
        if job:
            await self.follow(context, job, job.details.count)

        def act(session: Session) -> list[Path]:
            file = self.file_of(session, image)
            return [record_download(path) for path in self.endpoints.save_formats(session, file, formats, job)]

        paths = await self.call(context, act)
        return result({"images": [path.name for path in paths]}, paths)

    async def images_of(self, context: Context, job: Job, *before: Path) -> CallToolResult:
        """Follow a job of images, and return them after other images."""
        await self.follow(context, job, job.details.count)
        await self.call(context, lambda session: [record_download(path) for path in job.events])
        images = [*before, *job.events]
        return result({"images": [path.name for path in images], "notes": list(job.details.notes)}, images)

    async def export(
        self,
        context: Context,
        run: Annotated[str, Field(description="The id that `extract` returned.")],
        program: Annotated[str, Field(description="diffusers, comfyui, a1111 or kohya")] = "diffusers",
    ) -> CallToolResult:
        """Export a run for another program. Returns a zip with a LoRA, embeddings, images and a README."""
        job = await self.call(context, lambda session: self.endpoints.submit_export(session, run, program))
        await self.follow(context, job, 1)
        path = await self.call(context, lambda session: record_download(job.result.path))
        answer = result({"file": path.name})
        blob = base64.b64encode(path.read_bytes()).decode()
        zip_file = BlobResourceContents(uri=f"file:///{quote(path.name)}", mimeType="application/zip", blob=blob)
        answer.content.append(EmbeddedResource(type="resource", resource=zip_file))
        return answer

    async def call(self, context: Context, act: Callable[[Session], Any]) -> Any:
        """Return act(session), run in a thread."""

        def run():
            with errors_as_sentences(ToolError):
                session = self.session_of(context)
                with acting(session, name=login_of(context)):
                    return act(session)

        return await anyio.to_thread.run_sync(run)

    async def follow(self, context: Context, job: Job, total: int) -> None:
        """Report the progress of a job until it ends; raises ToolError if it fails.

        A call that the client cancels stops its job; what an extraction has learned by then is kept.
        """
        try:
            while not job.ended:
                await context.report_progress(len(job.events), total)
                await anyio.sleep(POLL_SECONDS)
        finally:
            job.request_stop()
        if job.state == FAILED:
            raise ToolError(job.error)

    def session_of(self, context: Context) -> Session:
        headers = context.request_context.request.headers
        return self.endpoints.session_for(headers, headers["mcp-session-id"], login_of(context))

    def file_of(self, session: Session, text: str) -> str:
        """The path of a file that a client sent or named; raises UserError if there is none."""
        if text.startswith("data:"):
            try:
                data = base64.b64decode(text.partition(",")[2], validate=True)
            except binascii.Error as error:
                raise UserError(strings.API_DATA_URL) from error
            return str(keep(session, data))
        if (path := text.rpartition("/gradio_api/file=")[2]) in self.uploads:
            note_uploads(session.folder, [path])
            return path
        if text in {path.name for path in kept_files(session)}:
            return str(files_folder(session) / text)
        raise UserError(strings.API_FILE)


def login_of(context: Context) -> str:
    """The name that the client has logged in with, which login.Login has checked, or ""."""
    given = basic_credentials(context.request_context.request.headers.get("authorization", ""))
    return given[0] if given else ""


def files_folder(session: Session) -> Path:
    return session.folder / "mcp"


def kept_files(session: Session) -> list[Path]:
    """The photos and masks of a session, the last sent first."""
    return sorted(files_folder(session).glob("file-*"), key=lambda path: path.stat().st_mtime, reverse=True)


def keep(session: Session, data: bytes) -> Path:
    """Keep a file of the session under an id, its name, and delete those that were sent longest ago."""
    path = files_folder(session) / f"file-{hashlib.sha256(data).hexdigest()[:16]}"
    with session.lock:
        with atomic_file(path) as draft:
            draft.write_bytes(data)
        for old in kept_files(session)[KEPT_FILES:]:
            old.unlink(missing_ok=True)
    return path


def keep_photo(session: Session, file: str) -> str:
    """The id of a photo that a call used."""
    path = Path(file)
    return path.name if path.parent == files_folder(session) else keep(session, path.read_bytes()).name


def result(values: dict, images: Sequence[Path] = ()) -> CallToolResult:
    """The values as JSON, and PNG images."""
    content = [TextContent(type="text", text=json.dumps(values, ensure_ascii=False))]
    for path in images:
        data = base64.b64encode(path.read_bytes()).decode()
        content.append(ImageContent(type="image", data=data, mimeType="image/png"))
    return CallToolResult(content=content, structuredContent=values)
