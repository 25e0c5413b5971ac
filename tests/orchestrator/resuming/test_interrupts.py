"""The first signal lets a command end in good order, an insisting one ends it at once."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = """
import time
from orchestrator.resuming.interrupts import handle_interrupts
handle_interrupts()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("in good order", flush=True)
    time.sleep(60)
"""


@contextmanager
def waiting(*, ignoring: signal.Signals | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command that never ends by itself."""
    ignored = (lambda: signal.signal(ignoring, signal.SIG_IGN)) if ignoring else None
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignored or (lambda: signal.signal(signal.SIGINT, signal.default_int_handler)),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_is_an_interrupt_and_the_second_the_end(sent: signal.Signals) -> None:
    with waiting() as process:
        assert process.stdout is not None
        process.send_signal(sent)
        assert process.stdout.readline() == "in good order\n"
        process.send_signal(sent)  # at once: the same signal, passed on by somebody
        time.sleep(0.6)
        assert process.poll() is None
        process.send_signal(sent)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "equipoise resume" in said


def test_what_is_ignored_stays_ignored() -> None:
    """As under `nohup`."""
    with waiting(ignoring=signal.SIGHUP) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
