"""Parts on all cores of one machine: threads while there is little to do, else processes.

Threads share Python's lock, which keeps them below one and a half times one thread; processes reach twice it on two
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
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from pipelines.preparation.shard import Shard, ShardConfig, ShardStatistics, store

# Some five seconds of work, which is what a process takes to start.
_IMAGES_PER_WORKER = 1500
_POLL_S = 0.2
# One decodes while the other reads or writes.
_THREADS_PER_PROCESS = 2


def sensible_workers(images: int) -> int:
    """How many processes are worth starting for so many images."""
    return max(1, min(os.cpu_count() or 1, images // _IMAGES_PER_WORKER))


def store_all(
    parts: Sequence[Shard],
    recipe: ShardConfig,
    folder: Path,
    workers: int,
    progress: tqdm,
    check_interrupted: Callable[[], None] = lambda: None,
) -> Iterator[ShardStatistics]:
    """Stores `parts` in `folder`; yields their tallies as they are finished, in any order.

    Args:
      parts, recipe, folder: see `parts.store`.
      workers: processes; 1 is this one, with a thread per core.
      progress: counts images.
      check_interrupted: called often; what it raises stops the work.

    Raises:
      ValueError: of `parts.store`, or a process was killed.
    """
    if workers > 1 and len(parts) > 1:
        yield from _store_in_processes(parts, recipe, folder, min(workers, len(parts)), progress, check_interrupted)
        return

    def after_image() -> None:
        progress.update()
        check_interrupted()

    for part in parts:
        yield store(part, recipe, folder, after_image)


def _store_in_processes(
    parts: Sequence[Shard],
    recipe: ShardConfig,
    folder: Path,
    workers: int,
    progress: tqdm,
    check_interrupted: Callable[[], None],
) -> Iterator[ShardStatistics]:
    # Not fork: TensorFlow's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    stop, images = context.Event(), context.Value("q", progress.n)
    with ProcessPoolExecutor(workers, context, _start_worker, (stop, images)) as pool:
        try:
            with _interrupts_ignored_by_children():
                pending = {pool.submit(_store_in_worker, part, recipe, folder) for part in parts}
            while pending:
                finished, pending = wait(pending, _POLL_S, FIRST_COMPLETED)
                check_interrupted()
                progress.update(images.value - progress.n)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool:
            check_interrupted()
            raise ValueError(
                f"workers={workers}: one of them was killed, perhaps for want of memory; fewer need less"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_ignored_by_children() -> Iterator[None]:
    """Processes started in this context leave Ctrl-C, which a terminal sends to all of them, to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


# Of a worker process.
_stop: Event
_images: Synchronized


def _start_worker(stop: Event, images: Synchronized) -> None:
    global _stop, _images
    _stop, _images = stop, images
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(_THREADS_PER_PROCESS)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # A parent that is killed outright cannot tell its workers, which would wait for work for ever.
    multiprocessing.parent_process().join()
    os._exit(1)


def _store_in_worker(part: Shard, recipe: ShardConfig, folder: Path) -> ShardStatistics:
    return store(part, recipe, folder, _after_image, _THREADS_PER_PROCESS)


def _after_image() -> None:
    with _images.get_lock():
        _images.value += 1
    if _stop.is_set():
        raise KeyboardInterrupt
