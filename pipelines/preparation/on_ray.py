"""Stores shards on a Ray cluster, whose machines share the file system."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelines.cli.progress import ProgressBar
from pipelines.preparation.shard import Shard, ShardConfig, ShardStatistics, store
from pipelines.ray_runner import run_on_ray

# One decodes while the other reads or writes.
_THREADS = 2


class _Worker:
    def __init__(self, config: ShardConfig, directory: Path) -> None:
        import tensorflow as tf

        self._config, self._directory = config, directory
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(_THREADS)

    def __call__(self, shard: Shard) -> ShardStatistics:
        return store(shard, self._config, self._directory, threads=_THREADS)


def store_on_ray(
    shards: Sequence[Shard],
    config: ShardConfig,
    directory: Path,
    progress: ProgressBar,
    check_interrupted: Callable[[], None] = lambda: None,
) -> Iterator[ShardStatistics]:
    """Stores `shards` by one worker per core; yields their statistics as they are completed, in any order.

    Args:
      shards, config, directory, progress, check_interrupted: see `processes.store_all`.

    Raises:
      ValueError: of `shard.store`, or of `run_on_ray`.
    """
    make_worker = functools.partial(_Worker, config, directory.absolute())
    for statistics in run_on_ray(make_worker, shards, cpus=1):
        check_interrupted()
        progress.update(progress.completed + statistics.seen)
        yield statistics
