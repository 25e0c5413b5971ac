"""A real browser on a real MLflow server; where either cannot be had, tests skip and say why."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

CHROMIUM, DRIVER = "chromium", "chromedriver"
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1300",
)


class Page:
    """What a person would see."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def open(self, address: str) -> None:
        """Go to a page, as from a link in a terminal."""
        self._driver.get("about:blank")  # a link that differs behind the # only would not load anything
        self._driver.get(address)

    def script(self, text: str) -> Any:
        """The value of a JavaScript expression."""
        return self._driver.execute_script(f"return {text}")

    def wait_for(self, text: str, seconds: float = 60) -> Any:
        """Wait until a JavaScript expression is true; its value."""
        return self.wait_until(lambda: self.script(text), seconds, text)

    def wait_until(self, happens: Callable[[], Any], seconds: float, what: str) -> Any:
        """Wait until something is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := happens()):
            if time.monotonic() > deadline:
                shown = self.script("document.body.innerText")
                raise AssertionError(f"never true: {what}\n{shown[:2000]}")
            time.sleep(0.2)
        return value

    def text(self) -> str:
        """All text that is shown."""
        return str(self.script("document.body.innerText"))

    def points(self) -> int:
        """Points of the scatter plots."""
        return len(self.colors())

    def colors(self) -> list[str]:
        """The colour of each point of the scatter plots, as `rgb(255, 127, 14)`."""
        points = "[...document.querySelectorAll('.scatterlayer .trace path.point')]"
        return [str(color) for color in self.script(f"{points}.map(point => getComputedStyle(point).fill)")]

    def run_colors(self) -> dict[str, str]:
        """The colour beside each run of the list, by the first word of its name, in their order."""
        rows = (
            "[...document.querySelectorAll('[row-id]')].filter(row => row.querySelector('label[style] + a'))"
        )
        told = "[row.querySelector('a').textContent.split(' ')[0], row.querySelector('label[style]')]"
        found = self.script(
            f"{rows}.map(row => {told}).map(([name, label]) => [name, getComputedStyle(label).backgroundColor])"
        )
        return dict(found)

    def shows_image(self) -> None:
        """Wait for a picture that MLflow keeps to be drawn."""
        self.wait_for(
            "[...document.images].some(i => i.src.includes('get-artifact') && i.naturalWidth > 200)"
        )


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Headless Chromium with an empty profile in the folder `profile`."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    missing = [name for name in (CHROMIUM, DRIVER) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian: chromium, chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = shutil.which(CHROMIUM)
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = selenium.Chrome(options=options, service=Service(shutil.which(DRIVER)))
    try:
        yield Page(driver)
    finally:
        driver.quit()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(
    folder: Path, store: str, *arguments: str, prefix: str = "", **environment: str
) -> Iterator[str]:
    """`mlflow server` on a store, its address with its path prefix; all its processes are gone afterwards."""
    port = free_port()
    address = f"http://127.0.0.1:{port}{prefix}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), *arguments]
    command += ["--artifacts-destination", str(folder / "served")]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 100
            while True:
                try:
                    with urlopen(f"{address}/health", timeout=2):
                        break
                except (URLError, OSError):
                    said = (folder / "server.log").read_text()[-2000:]
                    assert server.poll() is None, said
                    assert time.monotonic() < deadline, said
                    time.sleep(0.2)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
