"""Work on many items in threads."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

NETWORK_THREADS = 16
"""Threads that read images from elsewhere."""

Result = TypeVar("Result")


def in_threads(
    work: Callable[[Any], Result],
    items: Sequence[Any],
    waits: bool = False,
    ahead: Callable[[Any], Any] | None = None,
) -> list[Result]:
    """`work` on every item, in order. Pillow and the disk let other threads run meanwhile.

    With `ahead`, on what that makes of the item: in this thread, in order, and little earlier than it is needed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    threads = NETWORK_THREADS if waits else cores
    # What is worked on at a time lies close together, for the sake of containers.
    size = max(1, min(64, len(items)) // threads)
    batches = [items[first : first + size] for first in range(0, len(items), size)]
    parts = ([*map(ahead, batch)] if ahead else batch for batch in batches)
    if threads == 1 or len(batches) < 2:
        return [work(item) for part in parts for item in part]
    results: list[Result] = []
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            waiting.append(pool.submit(lambda part: [*map(work, part)], part))
            if len(waiting) > 2 * threads:
                results += waiting.popleft().result()
        for done in waiting:
            results += done.result()
    return results
