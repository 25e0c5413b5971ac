"""An HTTP server that answers what a test wants, on a real socket."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


@contextmanager
def http_server(
    *, body: bytes = b"", login: str | None = None, status: int = 200, date: str | None = None
) -> Iterator[int]:
    """Wants `login` (user:password), and answers everything with `status` and `body`; gives its port."""
    wanted = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            let_in = wanted is None or self.headers.get("Authorization") == wanted
            self.send_response(status if let_in else 401)
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return date or super().date_time_string(timestamp)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()
