"""Training by several processes, on one machine or on many, each with devices of its own.

All are started with the same command. TF_CONFIG tells each of them who the others are and which of them it is. The
first one (the chief) writes checkpoints and logs and tells how the training goes; the others read what it has written,
so `--model_dir` is a folder that all of them share.
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

from keras_alexnet.distribute.rendezvous import answers, meet
from pipelines.cli import reason_of

TF_CONFIG = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
# What TensorFlow raises in a worker when another one is gone.
_GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)


def cluster() -> tuple[list[str], int]:
    """Addresses of all workers, the chief first, and which of them this process is, as TF_CONFIG says.

    Raises:
      ValueError: if TF_CONFIG is missing or does not say so.
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
            f"strategy=multiworker needs the environment variable TF_CONFIG; found {text or 'none'!r}; expected, in "
            f"each process with its own index, {_EXAMPLE}"
        ) from None
    return [jobs[job][number] for job, number in tasks], index


def are_several() -> bool:
    """Whether TF_CONFIG, where it is set, names more than one worker.

    Raises:
      ValueError: see `cluster`.
    """
    return bool(os.environ.get(TF_CONFIG)) and len(cluster()[0]) > 1


def _tasks(jobs: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """What TensorFlow calls the workers, the chief first: job and number."""
    return [(job, number) for job in ("chief", "worker") for number in range(len(jobs.get(job, [])))]


def connected_strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    """The strategy that TF_CONFIG asks for, once all workers have come. Must come before TensorFlow has run anything.

    Waits as long as it takes, and says for whom.

    Raises:
      ValueError: see `cluster`; or this worker's own address cannot be used.
    """
    addresses, index = cluster()
    meet(addresses, index)
    name = f"worker {index} of {len(addresses)} ({addresses[index]})"
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ValueError(f"strategy=multiworker: {name} cannot start: {reason_of(error)}") from error
    # TensorFlow takes this signal for itself, to no end that would help here.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print(f"{name}: all have come" + ("" if index == 0 else "; worker 0 tells how the training goes"), flush=True)
    return strategy


class Cluster:
    """The processes that train under `strategy`: this one alone, unless it is a MultiWorkerMirroredStrategy.

    Attributes:
      addresses: of all workers, the chief first; none if this process trains alone.
      count: how many there are.
      index: which of them this process is.
      is_chief: whether this process writes checkpoints and logs.
      local_replicas: replicas of this process; all workers have as many.
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
        """What each worker has given: float64 `[count, len(values)]`. Waits until all have called it."""
        values = np.asarray(values, np.float64)[np.newaxis]
        if self.count == 1:
            return values
        # A worker's row, in the place of the first of its replicas; zeros elsewhere.
        table = np.zeros([self.local_replicas, self.count, values.shape[1]])
        table[0, self.index] = values

        first = self.index * self.local_replicas
        rows = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(table[context.replica_id_in_sync_group - first])
        )
        return self._strategy.experimental_local_results(self._total(rows))[0].numpy()

    def barrier(self) -> None:
        """Waits until all workers have come here."""
        self.gather([0])

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """The chief runs the block before all others do, so that they find what it has written."""
        if not self.is_chief:
            self.barrier()
        yield
        if self.is_chief:
            self.barrier()

    def expect_same(self, values: Mapping[str, object]) -> None:
        """Raises ValueError in all workers if a value, of what is called by its name, differs between any of them."""
        sums = self.gather([zlib.crc32(repr(value).encode()) for value in values.values()])
        for (name, value), column in zip(values.items(), sums.T, strict=True):
            others = [str(index) for index, number in enumerate(column) if number != column[self.index]]
            if others:
                raise ValueError(
                    f"{name}: found {value} in worker {self.index} and another value in worker {', '.join(others)}; "
                    "expected the same in all"
                )

    def distribute(self, batches: tf.data.Dataset) -> Iterable:
        """Gives each replica its part of `batches`: whole batches, or with several workers this one's share of them."""
        if self.count == 1:
            return self._strategy.experimental_distribute_dataset(batches)
        if self.local_replicas > 1:
            size = tf.nest.flatten(batches.element_spec)[0].shape[0]
            batches = batches.rebatch(size // self.local_replicas)
        return self._strategy.distribute_datasets_from_function(lambda context: batches)

    @contextlib.contextmanager
    def only_chief_prints(self) -> Iterator[None]:
        """What the other workers print inside goes nowhere."""
        if self.is_chief:
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """If another worker is gone while the block runs: an ValueError that names it."""
        try:
            yield
        except _GONE as error:
            gone = self._gone(str(error))
            if not gone:
                raise
            whom = ", ".join(f"worker {index} ({self.addresses[index]})" for index in gone)
            raise ValueError(
                f"lost {whom}, whose own output says why. Start all {self.count} workers again: they "
                "go on from the last checkpoint"
            ) from error

    def _gone(self, message: str) -> list[int]:
        """Which workers TensorFlow's message calls dead, or, if it names none, which ones do not listen any more."""
        found = re.findall(r"/job:(\w+)/(?:replica:0/)?task:(\d+)(?=\n|$)", message)
        named = [(job, int(number)) for job, number in found]
        others = [index for index in range(self.count) if index != self.index]
        return [i for i in others if self._tasks[i] in named] or [i for i in others if not answers(self.addresses[i])]


def _total(rows: tf.Tensor) -> tf.Tensor:
    # The identity has a device, which all_reduce asks its argument for.
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(rows))
