"""A worker process of a preparation. Importing this loads no TensorFlow, so that `start` can load it quietly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import startup

if TYPE_CHECKING:
    from pipelines.preparation.shard import Shard, ShardConfig, ShardStatistics

# One decodes while the other reads or writes.
_THREADS = 2

# Of this process.
_stop: Event
_images: Synchronized[int]


def start(stop: Event, images: Synchronized[int]) -> None:
    """Prepares this process.

    Args:
      stop: set when all workers have to stop.
      images: counts the images of all workers.
    """
    global _stop, _images
    _stop, _images = stop, images
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    startup.load_tensorflow_quietly()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(_THREADS)


def store(shard: Shard, config: ShardConfig, directory: Path) -> ShardStatistics:
    """Stores one shard; see `shard.store`."""
    from pipelines.preparation.shard import store as store_shard

    return store_shard(shard, config, directory, _after_image, _THREADS)


def _exit_with_parent() -> None:
    # A parent that is killed cannot stop its workers, which would wait for work forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _after_image() -> None:
    with _images.get_lock():
        _images.value += 1
    if _stop.is_set():
        raise KeyboardInterrupt
