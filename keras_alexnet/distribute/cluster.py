"""Training by several processes on one or more machines, each with its own devices.

All processes are started with the same command. The environment variable TF_CONFIG holds the addresses of all workers
and the index of this one. The first worker (the chief) writes checkpoints and logs and prints progress; the others read
what it has written, so the run directory must be on a file system that all of them share.
"""

import contextlib
import json
import os
import re
import signal
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_alexnet.distribute.rendezvous import is_listening, wait_for_all
from pipelines.cli import reason_of

TF_CONFIG = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
# TensorFlow's errors in a worker after another worker has ended.
_GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)


def parse_tf_config() -> tuple[list[str], int]:
    """Reads TF_CONFIG.

    Returns:
      host:port of all workers, the chief first, and the index of this process among them.

    Raises:
      ValueError: if TF_CONFIG is missing, malformed, or describes a cluster with jobs other than chief and worker.
    """
    text = os.environ.get(TF_CONFIG, "")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        tasks = _tasks(jobs)
        index = tasks.index((task["type"], int(task["index"])))
        if set(jobs) - {"chief", "worker"}:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"strategy=multiworker: needs the environment variable TF_CONFIG; found {text or 'none'!r}; expected, in "
            f"each process with its own index, {_EXAMPLE}"
        ) from None
    return [jobs[job][number] for job, number in tasks], index


def has_several_workers() -> bool:
    """Whether TF_CONFIG is set and describes more than one worker.

    A TF_CONFIG of something else (empty, or a cluster with parameter servers) is ignored with one line.
    """
    if not os.environ.get(TF_CONFIG):
        return False
    try:
        addresses, _ = parse_tf_config()
    except ValueError:
        print(f"ignored TF_CONFIG={os.environ[TF_CONFIG]!r}: expected only chief and worker jobs", flush=True)
        return False
    return len(addresses) > 1


def _tasks(jobs: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """Job and number of each worker in TensorFlow's terms, the chief first."""
    return [(job, number) for job in ("chief", "worker") for number in range(len(jobs.get(job, [])))]


def create_multiworker_strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for all workers and creates the strategy. Must be called before TensorFlow runs any operation.

    Raises:
      ValueError: as `parse_tf_config`, or this worker's own address cannot be used.
    """
    addresses, index = parse_tf_config()
    wait_for_all(addresses, index)
    name = f"worker {index} of {len(addresses)} ({addresses[index]})"
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ValueError(f"strategy=multiworker: {name} cannot start: {reason_of(error)}") from error
    # TensorFlow installs its own handler, which does not save a checkpoint.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print(f"{name}: all workers have connected" + ("" if index == 0 else "; worker 0 prints progress"), flush=True)
    return strategy


class Cluster:
    """The processes that train under `strategy`: only this one, unless it is a MultiWorkerMirroredStrategy.

    Attributes:
      addresses: host:port of all workers, the chief first; empty if this process trains alone.
      count: number of workers, 1 or more.
      index: index of this process, from 0.
      is_chief: whether this process writes checkpoints and logs.
      local_replicas: replicas in this process, the same number in all workers.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        resolver = strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict() if resolver else {}
        self._tasks = _tasks(jobs)
        self.addresses = [jobs[job][number] for job, number in self._tasks]
        self.count = max(1, len(self.addresses))
        self.index = self._tasks.index((resolver.task_type, resolver.task_id)) if resolver else 0
        self.is_chief = self.index == 0
        self.local_replicas = strategy.num_replicas_in_sync // self.count
        self._total = tf.function(lambda rows: strategy.run(_total, args=(rows,)), reduce_retracing=True)

    def gather(self, values: Sequence[float]) -> np.ndarray:
        """The values of all workers, float64 `[count, len(values)]`. Waits until all workers have called it."""
        row = np.asarray(values, np.float64)[np.newaxis]
        if self.count == 1:
            return row
        # The worker's row at the place of its first replica; zeros elsewhere. Their sum is the table.
        table = np.zeros([self.local_replicas, self.count, row.shape[1]])
        table[0, self.index] = row

        first = self.index * self.local_replicas
        rows = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(table[context.replica_id_in_sync_group - first])
        )
        return self._strategy.experimental_local_results(self._total(rows))[0].numpy()

    def barrier(self) -> None:
        """Waits until all workers have called it."""
        self.gather([0])

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Runs the block on the chief before the other workers, which then find what it has written."""
        if not self.is_chief:
            self.barrier()
        yield
        if self.is_chief:
            self.barrier()

    def expect_same(self, values: Mapping[str, object]) -> None:
        """Checks that named values are equal in all workers.

        Raises:
          ValueError: in all workers, if a value differs between two of them.
        """
        sums = self.gather([zlib.crc32(repr(value).encode()) for value in values.values()])
        for (name, value), column in zip(values.items(), sums.T, strict=True):
            others = [str(index) for index, number in enumerate(column) if number != column[self.index]]
            if others:
                raise ValueError(
                    f"{name}={value} in worker {self.index}: expected the same value in all workers, but worker "
                    f"{', '.join(others)} has another"
                )

    def distribute(self, batches: tf.data.Dataset) -> Iterable:
        """Distributes batches to the replicas: whole batches, or with several workers this worker's share of each."""
        if self.count == 1:
            return self._strategy.experimental_distribute_dataset(batches)
        if self.local_replicas > 1:
            size = tf.nest.flatten(batches.element_spec)[0].shape[0]
            batches = batches.rebatch(size // self.local_replicas)
        return self._strategy.distribute_datasets_from_function(lambda context: batches)

    @contextlib.contextmanager
    def only_chief_prints(self) -> Iterator[None]:
        """Discards what workers other than the chief print in the block."""
        if self.is_chief:
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turns TensorFlow's errors after the end of another worker into a ValueError that names it."""
        try:
            yield
        except _GONE as error:
            gone = self._gone(str(error))
            if not gone:
                raise
            whom = ", ".join(f"worker {index} ({self.addresses[index]})" for index in gone)
            raise ValueError(
                f"lost {whom}; see its output for the reason. Start all {self.count} workers again: they resume from "
                "the last checkpoint"
            ) from error

    def _gone(self, message: str) -> list[int]:
        """Indices of the workers that TensorFlow's message reports, or, if none, of those that no longer listen."""
        found = re.findall(r"/job:(\w+)/(?:replica:0/)?task:(\d+)(?=\n|$)", message)
        named = [(job, int(number)) for job, number in found]
        others = [index for index in range(self.count) if index != self.index]
        return [i for i in others if self._tasks[i] in named] or [
            i for i in others if not is_listening(self.addresses[i])
        ]


def _total(rows: tf.Tensor) -> tf.Tensor:
    # all_reduce needs the device of its argument, which an identity has.
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(rows))
