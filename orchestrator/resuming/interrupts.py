"""What Ctrl-C does, and a scheduler's SIGTERM, and a closed terminal: end a run in good order, or now."""

import os
import signal
import time

INTERRUPTED = 130
"""The exit code."""
SECONDS_TO_INSIST = 0.5
"""Signals that follow the first one sooner are the same one, passed on by whoever started us."""


def handle_interrupts() -> None:
    """Take over the signals that end a command, except those that are ignored (by `nohup`, say)."""
    on_interrupt = _Interrupts()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, on_interrupt)


class _Interrupts:
    """The first signal ends a run in good order, which takes seconds; the second ends it now. Nothing is lost."""

    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, number: int, frame: object) -> None:
        if self._first is None:
            self._first = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._first > SECONDS_TO_INSIST:
            os.write(2, b"\nstopped; go on with: equipoise resume\n")
            try:  # imported here, and there already if there is such a Ray: the command line answers at once
                from orchestrator.machines.private_ray import kill_private_ray

                kill_private_ray()  # else what has lost its driver lingers for a minute
            finally:
                os._exit(INTERRUPTED)
