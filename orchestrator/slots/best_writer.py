"""Writes the model of the selected epoch while the next epoch trains."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BestWriter:
    """A thread that writes one model at a time. A slot waits for it before it says that an epoch is over."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="best-writer")
        self._writing: Future[None] | None = None

    def write(self, save: Callable[[], None]) -> None:
        """Begin to call `save`, which writes copies that nobody changes, once the one before is written."""
        self.wait()
        self._writing = self._threads.submit(save)

    def wait(self) -> None:
        """Return when all is on disk. Raises what kept the thread from writing, an OSError as a rule."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """End the thread when all is on disk."""
        self._threads.shutdown()
