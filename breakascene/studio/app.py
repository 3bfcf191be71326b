"""Build the studio's app and serve it: safe settings, one queue of jobs, one session for each visitor."""

import asyncio
import gc
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.applications import Starlette
from starlette.middleware import Middleware

from breakascene.errors import UserError
from breakascene.generation.library import Library
from breakascene.provenance.audit import folder_from_settings
from breakascene.provenance.credentials import credentials_folder
from breakascene.studio import api, bases, environment, loaded, page, page_states, strings, uploads
from breakascene.studio.accounts import Accounts
from breakascene.studio.folders import require_data_folder
from breakascene.studio.jobs import JobQueue
from breakascene.studio.language import language_middleware
from breakascene.studio.login import Login, OwnFiles, Throttle
from breakascene.studio.protection import AtPath, Protection, refuse_outside_files
from breakascene.studio.quotas import COUNTS, Quotas
from breakascene.studio.state.session import DEFAULT_ALL_BYTES, DEFAULT_VISITOR_BYTES, SessionStore
from breakascene.studio.theme import CSS, THEME

log = logging.getLogger(__name__)

MAX_WAITING_EVENTS = 100  # of all pages, waiting for their handlers; jobs have their own queue
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
DAY_SECONDS = 24 * 3600
SWEEP_SECONDS = 600
MCP_PATH = "/gradio_api/mcp"
MAX_MCP_BODY = 60 * 2**20  # bytes of a message: a photo of page.MAX_UPLOAD in base64, and its masks


def launch(
    host: str = "127.0.0.1",
    port: int | None = None,
    base: str = "auto",
    *,
    login: str = "",
    users: str = "",
    mcp: bool = False,
    trusted_hosts: str = "",
    root_path: str = "",
    wait: bool = True,
) -> gr.Blocks:
    """Load the models and serve the studio.

    Args:
        host, port: Where it listens; without a port, the first free one from 7860 on.
        base: As for load_base.
        login: "name:password" that visitors have to enter; none if empty.
        users: File of accounts that visitors log in with, as the command `users add` writes it; none if empty.
        mcp: Offer the endpoints of api.py as tools of the Model Context Protocol too.
        trusted_hosts: Names by which visitors reach the studio, separated by commas; see protection.Protection.
        root_path: Path under which a reverse proxy serves the studio, such as "/studio", if not at its root.
        wait: Return when the studio is stopped, not at once.

    Returns:
        The app. Close its `job_queue` after it.

    Raises:
        UserError: If the base is not available, `login` or `users` cannot be used, the package for `mcp` is not
            installed, or the data folder cannot be written.
    """
    accounts, limits = open_accounts(login, users), read_limits()
    if mcp and find_spec("mcp") is None:
        raise UserError(strings.MCP_MISSING.format(version=gr.__version__))
    folder = Path(os.environ.get("BREAKASCENE_DATA", "runs/studio"))
    require_data_folder(folder)
    loaded.open_models(base)
    folder.mkdir(parents=True, exist_ok=True)
    own_machine = host in LOCAL_HOSTS and not accounts and not on_space()
    bases.configure(own_machine)
    if host not in LOCAL_HOSTS and not accounts and not on_space():
        log.warning(strings.NO_PASSWORD_WARNING.format(host=host))
    sessions = SessionStore(folder, **limits, library=open_library(host))
    job_queue = JobQueue(
        idle_work=loaded.generate_prior_images, quotas=read_quotas(sessions), after_job=loaded.release_memory
    )
    with_pilot = environment.switch("BREAKASCENE_PILOT", own_machine) and not loaded.zero_gpu()
    demo = build(sessions, job_queue, accounts, with_pilot)
    loaded.start_downloads(sessions.open_photos)
    demo.job_queue = job_queue
    refuse_outside_files(demo)
    uploads.use_parser()
    page_states.use_page_states()
    hosts = [host.strip() for host in trusted_hosts.split(",") if host.strip()]
    tools = build_tools(demo, sessions, job_queue) if mcp else None
    lifespan = server_lifespan(sessions, hosts, accounts, tools)
    demo.queue(max_size=MAX_WAITING_EVENTS, default_concurrency_limit=4)
    _, address, _ = demo.launch(
        server_name=host, server_port=port, share=False, ssr_mode=False, quiet=True, prevent_thread_lock=True,
        theme=THEME, css=CSS, footer_links=[], max_file_size=f"{page.MAX_UPLOAD}mb", strict_cors=True, show_error=False,
        enable_monitoring=False, run_history=False, allowed_paths=[str(sessions.folder)],
        blocked_paths=private_paths(sessions, users),
        auth=accounts.log_in if accounts else None, mcp_server=False, root_path=root_path.rstrip("/") or None,
        app_kwargs={"middleware": [Middleware(language_middleware)], "lifespan": lifespan},
    )  # fmt: skip
    if wait:
        gc.collect()
        gc.freeze()  # models and pages live as long as the process: no collection has to traverse them
        print(strings.STUDIO_ADDRESS.format(address=address), flush=True)
        try:
            demo.block_thread()
        finally:
            job_queue.close()
    return demo


def private_paths(sessions: SessionStore, users: str) -> list[str]:
    """What no visitor may fetch, even where it lies in the data folder: counts, audit log, keys and accounts."""
    log, keys = folder_from_settings(), credentials_folder()
    paths = [sessions.folder / COUNTS, log, keys, Path(users) if users else None]
    return [str(path.absolute()) for path in paths if path is not None]


def open_library(host: str) -> Library | None:
    """The library that visitors share: where the studio serves this machine only, or the folder was chosen for it."""
    if host in LOCAL_HOSTS and not on_space() or os.environ.get("BREAKASCENE_LIBRARY"):
        with suppress(UserError):  # no home folder
            return Library()
    return None


def read_limits() -> dict[str, Any]:
    """The limits of SessionStore."""
    keep_data = environment.positive_number("BREAKASCENE_KEEP_DAYS")
    return {
        "keep_data_seconds": None if keep_data is None else keep_data * DAY_SECONDS,
        "keep_seconds": environment.hours("BREAKASCENE_KEEP_HOURS") or (DAY_SECONDS if on_space() else None),
        "visitor_bytes": environment.megabytes("BREAKASCENE_VISITOR_MEMORY", DEFAULT_VISITOR_BYTES),
        "all_bytes": environment.megabytes("BREAKASCENE_ALL_MEMORY", DEFAULT_ALL_BYTES),
    }


def read_quotas(sessions: SessionStore) -> Quotas:
    """What each visitor may use."""
    jobs, megabytes = map(environment.positive_number, ("BREAKASCENE_JOBS_PER_DAY", "BREAKASCENE_VISITOR_DISK"))
    return Quotas(sessions, None if jobs is None else int(jobs), None if megabytes is None else int(megabytes * 2**20))


def parse_login(login: str) -> tuple[str, str] | None:
    """Name and password of "name:password"; None if it is empty."""
    name, _, password = login.partition(":")
    if login and not (name and password):
        raise UserError(strings.INVALID_LOGIN)
    return (name, password) if login else None


def open_accounts(login: str, users: str) -> Accounts | None:
    """The accounts of a login or of a file; None if there are none. Raises UserError."""
    if login and users:
        raise UserError(strings.LOGIN_AND_USERS)
    if users:
        return Accounts(file=Path(users))
    return Accounts(parse_login(login)) if login else None


def build_tools(demo: gr.Blocks, sessions: SessionStore, job_queue: JobQueue) -> Any:
    """The MCP server; imported only here, because its package is optional."""
    from breakascene.studio import mcp_server

    return mcp_server.build(api.Endpoints(sessions, job_queue), demo.upload_file_set, MAX_MCP_BODY)


def server_lifespan(sessions: SessionStore, hosts: list[str], accounts: Accounts | None, tools: Any) -> Callable:
    """A lifespan of the server in which unused sessions are deleted, and the app is protected.

    Gradio puts its own middleware before any that is given to it, so the finished stack is wrapped.
    """
    limits = {"/gradio_api/upload": (page.MAX_UPLOAD + 1) * 2**20, MCP_PATH: MAX_MCP_BODY}
    ancestors = "'self' https://huggingface.co https://*.hf.space" if on_space() else "'self'"

    @asynccontextmanager
    async def lifespan(app: Starlette):
        async with AsyncExitStack() as stack:
            served = app.middleware_stack
            if tools:
                await stack.enter_async_context(tools.session_manager.run())
                served = AtPath(served, MCP_PATH, tools.session_manager.handle_request)
            if accounts:
                served = Login(OwnFiles(served, sessions, app), accounts, (MCP_PATH,), Throttle())
            app.middleware_stack = Protection(served, ["*"] if on_space() else hosts, limits, ancestors)
            sweep = asyncio.create_task(delete_regularly(sessions))
            stack.callback(sweep.cancel)
            yield

    return lifespan


async def delete_regularly(sessions: SessionStore) -> None:
    """Delete unused sessions, old data, and what is left of deleted sessions."""
    while True:
        for delete in (sessions.finish_deletions, sessions.delete_unused, sessions.delete_old_data):
            try:
                await asyncio.to_thread(delete)
            except Exception:  # such as a log that cannot be written; the next time may succeed
                log.exception("%s failed", delete.__name__)
        await asyncio.sleep(SWEEP_SECONDS)


def on_space() -> bool:
    """Whether the studio runs on a Hugging Face Space."""
    return "SPACE_ID" in os.environ


def build(
    sessions: SessionStore, queue: JobQueue, accounts: Accounts | None = None, with_pilot: bool = False
) -> gr.Blocks:
    """Build the app with a page in each language; loaded.open_models must have run."""
    with gr.Blocks(
        title=strings.TITLE, analytics_enabled=False, delete_cache=(3600, DAY_SECONDS), fill_width=False
    ) as demo:
        page.build(demo, sessions, queue, accounts, with_pilot)
        api.build(sessions, queue)
    for code, name in strings.LANGUAGES.items():
        if code != "en":
            with strings.use_language(code), demo.route(name, code):
                page.build(demo, sessions, queue, accounts, with_pilot)
    return demo
