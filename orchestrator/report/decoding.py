"""What is shown while images are decoded, before a run has a plan: a line now and then."""

from rich.console import Console

from orchestrator.runs.journal import Event

SECONDS_BETWEEN_LINES = 5.0


class Decoding:
    """Prints how far decoding has come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = 0.0

    def show(self, event: Event) -> None:
        """Take in an event of kind `decoding`: `done` of `total` images by `time`."""
        if event["time"] - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = event["time"]
            self._console.print(f"decoding images: {event['done']:,} of {event['total']:,}", highlight=False)
