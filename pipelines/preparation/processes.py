"""Stores shards on all cores of one machine: by threads if there is little to do, else by processes.

Threads share the GIL, which limits them to 1.5 times the speed of one; processes reach twice the speed on two
cores, but take seconds to start TensorFlow.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pipelines.cli.progress import ProgressBar
from pipelines.preparation import worker
from pipelines.preparation.shard import Shard, ShardConfig, ShardStatistics, store

# Some five seconds of work, which is what a process takes to start.
_IMAGES_PER_WORKER = 1500
_POLL_S = 0.2


def sensible_workers(images: int) -> int:
    """How many processes are worth starting for this many images."""
    return max(1, min(os.cpu_count() or 1, images // _IMAGES_PER_WORKER))


def store_all(
    shards: Sequence[Shard],
    config: ShardConfig,
    directory: Path,
    workers: int,
    progress: ProgressBar,
    check_interrupted: Callable[[], None] = lambda: None,
) -> Iterator[ShardStatistics]:
    """Stores `shards`; yields their statistics as they are completed, in any order.

    Args:
      shards, config, directory: see `shard.store`.
      workers: processes; 1 is this one, with a thread per core.
      progress: counts images.
      check_interrupted: called often; what it raises stops the work.

    Raises:
      ValueError: of `shard.store`, or a process was killed.
    """
    if workers > 1 and len(shards) > 1:
        workers = min(workers, len(shards))
        yield from _store_in_processes(shards, config, directory, workers, progress, check_interrupted)
        return

    def after_image() -> None:
        progress.update()
        check_interrupted()

    for shard in shards:
        yield store(shard, config, directory, after_image)


def _store_in_processes(
    shards: Sequence[Shard],
    config: ShardConfig,
    directory: Path,
    workers: int,
    progress: ProgressBar,
    check_interrupted: Callable[[], None],
) -> Iterator[ShardStatistics]:
    # Not fork: TensorFlow's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    stop, images = context.Event(), context.Value("q", progress.completed)
    with ProcessPoolExecutor(workers, context, worker.start, (stop, images)) as pool:
        try:
            with _interrupts_ignored_by_children():
                pending = {pool.submit(worker.store, shard, config, directory) for shard in shards}
            while pending:
                done, pending = wait(pending, _POLL_S, FIRST_COMPLETED)
                check_interrupted()
                progress.update(images.value)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            check_interrupted()
            raise ValueError(
                f"workers={workers}: one of them was killed, perhaps because memory ran out; use fewer"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_ignored_by_children() -> Iterator[None]:
    """Processes started in this context ignore Ctrl-C, which a terminal sends to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
