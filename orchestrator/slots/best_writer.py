"""Writes the model of the selected epoch while the next epoch trains."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from trainables.training.state import ModelState, save_state


class BestWriter:
    """A thread that writes one model at a time. A slot waits for it before it says that an epoch is over."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="best-writer")
        self._writing: Future[None] | None = None

    def write(self, state: ModelState, directory: Path) -> None:
        """Begin to write `state`, a copy that nobody changes, once the one before is written."""
        self.wait()
        self._writing = self._threads.submit(save_state, state, directory)

    def wait(self) -> None:
        """Return when all is on disk. Raises what kept the thread from writing, an OSError as a rule."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """End the thread when all is on disk."""
        self._threads.shutdown()
