"""`equipoise ui` shows where results are, and leaves nothing behind."""

import http.client
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import TrackingError
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.state import read_state
from orchestrator.tracking.ui import run_ui
from orchestrator.tracking.uri import experiment_link
from tests.orchestrator.journals import search_events, write_journal
from tests.orchestrator.tracking.browser import free_port

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's


@contextmanager
def ui(uri: str, port: int) -> Iterator["subprocess.Popen[str]"]:
    program = f"from orchestrator.tracking.ui import run_ui; run_ui({uri!r}, port={port})"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def test_a_busy_port_names_another(store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=f"--port {port + 1}"):
            run_ui(store, port=port)


def test_no_database_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="equipoise search"):
        run_ui(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_remote_store_is_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    run_ui(f"http://127.0.0.1:{free_port()}")
    assert "MLflow: http://127.0.0.1:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_serves_the_runs_and_ends_without_a_trace(
    tmp_path: Path, store: str, number: signal.Signals
) -> None:
    search = write_journal(tmp_path / "digits-pair-001", list(search_events(store)))
    Follower(search, None).run()
    port = free_port()
    with ui(store, port) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        view = read_state(search).view
        assert view is not None
        assert line.strip() == f"digits-pair: {experiment_link(f'http://127.0.0.1:{port}', '1', view)}"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"<title>MLflow</title>" in page.read()
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.send_signal(number)
        assert process.wait(20) == 0
        _, alive = psutil.wait_procs(family, timeout=2)
        assert alive == []


@pytest.mark.slow
def test_it_listens_to_this_machine_only_and_to_its_own_names(tmp_path: Path, store: str) -> None:
    Follower(write_journal(tmp_path / "digits-pair-001", list(search_events(store))), None).run()
    port = free_port()
    with ui(store, port) as process:
        assert process.stdout is not None
        process.stdout.readline()
        parent = psutil.Process(process.pid)
        listening = {
            connection.laddr
            for member in (parent, *parent.children(recursive=True))
            for connection in member.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {("127.0.0.1", port)}
        statuses = {}
        for host in ("127.0.0.1", f"localhost:{port}", "evil.example.net"):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                connection.request("GET", "/", headers={"Host": host})
                statuses[host] = connection.getresponse().status
        assert statuses == {"127.0.0.1": 200, f"localhost:{port}": 200, "evil.example.net": 403}


@pytest.mark.slow
def test_a_server_that_comes_late_hears_everything_once(
    tmp_path: Path, store: str, content: Callable[[str], dict[str, dict[str, Any]]]
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    directory = write_journal(tmp_path / "digits-pair-001", list(search_events(uri, trials=4)))
    writer = start_writer(directory)
    while writer.status().error is None:
        time.sleep(0.1)
    with ui(store, port) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert writer.finish(timeout=90, outage_timeout=90).drained
        served = content(uri)
    assert len(served) == 5
    assert {run["status"] for run in served.values()} == {"FINISHED", "KILLED"}
    assert served == content(store)
