"""Build the studio's app and serve it: safe settings, one queue of jobs, one session for each visitor."""

import gc
import logging
import os
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from breakascene.errors import UserError
from breakascene.studio import api, engine, page, strings
from breakascene.studio.jobs import JobQueue
from breakascene.studio.language import language_middleware
from breakascene.studio.state.session import SessionStore
from breakascene.studio.theme import CSS, THEME

log = logging.getLogger(__name__)

MAX_WAITING_EVENTS = 100  # of all pages, waiting for their handlers; jobs have their own queue
DAY_SECONDS = 24 * 3600


def launch(
    host: str = "127.0.0.1",
    port: int | None = None,
    base: str = "auto",
    *,
    login: str = "",
    mcp: bool = False,
    wait: bool = True,
) -> gr.Blocks:
    """Load the models and serve the studio.

    Args:
        host, port: Where it listens; without a port, the first free one from 7860 on.
        base: As for load_base.
        login: "name:password" that visitors have to enter; none if empty.
        mcp: Offer the endpoints of api.py as tools of the Model Context Protocol too.
        wait: Return when the studio is stopped, not at once.

    Returns:
        The app. Close its `job_queue` after it.

    Raises:
        UserError: If the base is not available, `login` lacks a part, or the package for `mcp` is not installed.
    """
    name, _, password = login.partition(":")
    if login and not (name and password):
        raise UserError(strings.INVALID_LOGIN)
    if mcp and find_spec("mcp") is None:
        raise UserError(strings.MCP_MISSING.format(version=gr.__version__))
    engine.open_models(base)
    if host not in ("127.0.0.1", "localhost", "::1") and not login and not on_space():
        log.warning(strings.NO_PASSWORD_WARNING.format(host=host))
    folder = Path(os.environ.get("BREAKASCENE_DATA", "runs/studio"))
    sessions = SessionStore(folder, keep_seconds=DAY_SECONDS if on_space() else None)
    job_queue = JobQueue(idle_work=engine.generate_prior_images)
    demo = build(sessions, job_queue)
    engine.start_downloads(sessions.open_photos)
    demo.job_queue = job_queue
    demo.queue(max_size=MAX_WAITING_EVENTS, default_concurrency_limit=4)
    _, address, _ = demo.launch(
        server_name=host, server_port=port, share=False, ssr_mode=False, quiet=True, prevent_thread_lock=True,
        theme=THEME, css=CSS, footer_links=[], max_file_size=f"{page.MAX_UPLOAD}mb", strict_cors=True, show_error=False,
        enable_monitoring=False, run_history=False, allowed_paths=[str(sessions.folder)],
        auth=(name, password) if login else None, app_kwargs={"middleware": [Middleware(language_middleware)]},
        mcp_server=mcp,
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


def on_space() -> bool:
    """Whether the studio runs on a Hugging Face Space."""
    return "SPACE_ID" in os.environ


def build(sessions: SessionStore, queue: JobQueue) -> gr.Blocks:
    """Build the app with a page in each language; engine.open_models must have run."""
    with gr.Blocks(
        title=strings.TITLE, analytics_enabled=False, delete_cache=(3600, DAY_SECONDS), fill_width=False
    ) as demo:
        page.build(demo, sessions, queue)
        api.build(sessions, queue)
    for code, name in strings.LANGUAGES.items():
        if code != "en":
            with strings.use_language(code), demo.route(name, code):
                page.build(demo, sessions, queue)
    return demo
