"""A stand-in for the Hugging Face Hub on this machine: files at the real one's paths, with its headers."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest

COMMIT = "0" * 40


@contextmanager
def running_hub(files: dict[str, bytes], cache, gate: threading.Event | None = None):
    """Serve files by "owner/model/path", with an empty cache; after half of a file the server waits for `gate`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            if self.path.startswith("/api/models/"):
                listed = listing(self.path.removeprefix("/api/models/").partition("?")[0])
                return self.send(json.dumps(listed).encode()) if listed["siblings"] else self.send_error(404)
            owner, _, rest = self.path.lstrip("/").partition("/resolve/")
            data = files.get(f"{owner}/{rest.partition('/')[2]}")
            if data is None:
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send(data, body)

        def send(self, data, body=True):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                if gate and not self.path.startswith("/api/"):
                    gate.wait(60)
                self.wfile.write(data[len(data) // 2 :])

    def listing(repo):
        siblings = [
            {"rfilename": name.removeprefix(f"{repo}/"), "size": len(data)}
            for name, data in files.items()
            if name.startswith(f"{repo}/")
        ]
        return {"id": repo, "sha": COMMIT, "siblings": siblings}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        constants = huggingface_hub.constants
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        try:
            yield address
        finally:
            server.shutdown()
            server.server_close()
