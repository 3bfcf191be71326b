"""A reverse proxy that serves an address under a path, as nginx does with `location /path/ { proxy_pass …/; }`."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextmanager
def reverse_proxy(address: str, path: str, scheme: str = "http") -> Iterator[str]:
    """Serve `address` under `path` on a free port and yield the new address; `scheme` is what visitors seem to use."""
    target = urlsplit(address).netloc

    class Handler(BaseHTTPRequestHandler):
        def forward(self):
            if not self.path.startswith(f"{path}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {**self.headers, "X-Forwarded-Host": self.headers["host"], "X-Forwarded-Proto": scheme}
            connection = http.client.HTTPConnection(target, timeout=60)
            connection.request(self.command, self.path.removeprefix(path), body, headers)
            response = connection.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            while chunk := response.read1(65536):  # as they come: results are a stream of events
                self.wfile.write(chunk)
                self.wfile.flush()
            connection.close()

        do_GET = do_POST = do_HEAD = forward

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
