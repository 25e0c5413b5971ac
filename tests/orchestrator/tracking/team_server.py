"""The documented server for a team, started as it is documented: only its place is another."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.commands import environment
from tests.end_to_end.test_ray_address import free_ports

DOCUMENT = Path(__file__).parents[3] / "docs" / "mlflow.md"
NAME = "ml.example.org"
"""Of the server, in the document."""
USER, PASSWORD = "admin", "correct-horse-battery"


def documented_lines() -> tuple[str, str, str]:
    """What installs the server, what sets its environment, and what starts it."""
    (block,) = (text for text in DOCUMENT.read_text().split("```")[1::2] if "mlflow server" in text)
    install, export, start = block.replace("\\\n", " ").strip().splitlines()
    return install, export, start


def command(folder: Path, port: int) -> str:
    """The documented command, for a shell, with values for what the document leaves open."""
    _, export, start = documented_lines()
    places = {
        "ADMIN_PASSWORD=…": f"ADMIN_PASSWORD={PASSWORD}",
        "SECRET_KEY=…": f"SECRET_KEY={'k' * 32}",
        "postgresql://…": f"sqlite:///{folder / 'server.db'}",
        "s3://…": str(folder / "artifacts"),
        "mlflow server": f"exec {sys.executable} -m mlflow server --port {port}",
    }
    script = f"{export}\n{start}"
    for documented, here in places.items():
        assert script.count(documented) == 1, documented
        script = script.replace(documented, here)
    assert "…" not in script
    return script


@dataclass(frozen=True)
class TeamServer:
    """A server that runs."""

    port: int

    def status(
        self,
        method: str = "GET",
        path: str = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default",
        *,
        body: str | None = None,
        login: tuple[str, str] | None = (USER, PASSWORD),
        host: str = NAME,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str]]:
        """The status of one request, and the answer's headers."""

        sent = {
            "Host": host,
            **({"Content-Type": "application/json"} if body is not None else {}),
            **(headers or {}),
        }
        options = [part for name, value in sent.items() for part in ("--header", f"{name}: {value}")]
        if login is not None:
            options += ["--user", ":".join(login)]
        if body is not None:
            options += ["--data", body]
        command = ["curl", "--disable", "--silent", "--noproxy", "*", "--max-time", "30", "--request", method]
        places = ["--output", os.devnull, "--dump-header", "-", f"http://127.0.0.1:{self.port}{path}"]
        done = subprocess.run([*command, *options, *places], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"curl ended with {done.returncode}: {done.stderr}")
        first, *lines = done.stdout.strip().splitlines()
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), found

    def run_documented(self, folder: Path) -> str:
        """What the documented calls of curl print, as if this server were the one that the document names."""
        (block,) = (text for text in DOCUMENT.read_text().split("```")[1::2] if "curl" in text)
        (folder / ".curlrc").write_text(f'connect-to = "::127.0.0.1:{self.port}"\nnoproxy = "*"\n')
        login = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        done = subprocess.run(
            ["bash", "-c", block.replace(f"https://{NAME}/", f"http://{NAME}/")],
            env=environment({"CURL_HOME": str(folder)} | login),
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr


@contextlib.contextmanager
def team_server(folder: Path, *further: str, prefix: str = "") -> Iterator[TeamServer]:
    """Start it in `folder`, with `further` options; all its processes are gone afterwards."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (port,) = free_ports(1)
    folder.mkdir(exist_ok=True)
    script = " ".join([command(folder, port), *further])
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment({"PYTHONPATH": os.pathsep.join(sys.path)}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = TeamServer(port)
    try:
        deadline = time.monotonic() + 90
        while not _answers(server, f"{prefix}/health"):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _answers(server: TeamServer, path: str) -> bool:
    try:
        return server.status(path=path, login=None)[0] == 200
    except OSError:
        return False


@contextlib.contextmanager
def known_by_name(server: TeamServer) -> Iterator[dict[str, str]]:
    """Variables under which a command reaches the server as `http://ml.example.org`, without a line in /etc/hosts.

    An HTTP proxy passes on what it gets, the name in the Host header included.
    """

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.closing(
                http.client.HTTPConnection(
                    "127.0.0.1", server.port if target.hostname == NAME else 9, timeout=60
                )
            ) as connection:
                path = target._replace(scheme="", netloc="").geturl()
                connection.request(self.command, path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - their names there

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield {
                "http_proxy": f"http://127.0.0.1:{proxy.server_port}",
                "no_proxy": "127.0.0.1,localhost",
                "MLFLOW_TRACKING_URI": f"http://{NAME}",
            }
        finally:
            proxy.shutdown()
            thread.join()
