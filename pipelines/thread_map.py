"""`map` on threads, in order and with a bounded number of results in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_WINDOW_PER_THREAD = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ordered_thread_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int | None = None
) -> Iterator[_Result]:
    """`map(function, items)` on threads, one per core if None, which reads only a few items ahead of the consumer."""
    threads = threads or os.cpu_count() or 1
    pending: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= threads * _WINDOW_PER_THREAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Not waiting: an abandoned generator may be finalized on one of these threads, which cannot wait for itself.
        pool.shutdown(wait=False, cancel_futures=True)
