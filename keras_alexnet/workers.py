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
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from pipelines.command import InputError, reason_of

TF_CONFIG = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
# What TensorFlow raises in a worker when another one is gone.
_GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)
_PROBE_S, _REMIND_S = 2.0, 30.0


def cluster() -> tuple[list[str], int]:
    """Addresses of all workers, the chief first, and which of them this process is, as TF_CONFIG says.

    Raises:
      ValueError: if TF_CONFIG is missing or does not say so.
    """
    text = os.environ.get(TF_CONFIG, "")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        addresses = [*jobs.get("chief", []), *jobs["worker"]]
        index = int(task["index"]) + (len(jobs.get("chief", [])) if task["type"] == "worker" else 0)
        if (
            set(jobs) - {"chief", "worker"}
            or task["type"] not in jobs
            or not 0 <= int(task["index"]) < len(jobs[task["type"]])
        ):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"strategy=multiworker needs the environment variable TF_CONFIG; found {text or 'none'!r}; expected, in "
            f"each process with its own index, {_EXAMPLE}"
        ) from None
    return addresses, index


def connected_strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    """The strategy that TF_CONFIG asks for, once all workers have come. Must come before TensorFlow has run anything.

    Waits as long as it takes, and says for whom.

    Raises:
      ValueError: see `cluster`; or TensorFlow cannot use this worker's own address.
      SystemExit: on SIGTERM or Ctrl-C while waiting.
    """
    addresses, index = cluster()
    name = f"worker {index} of {len(addresses)} ({addresses[index]})"
    # Without its chief, TensorFlow would wait deaf to signals.
    _wait(lambda: index == 0 or _answers(addresses[0]), name, addresses[:1])
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ValueError(f"strategy=multiworker: {name} cannot start: {reason_of(error)}") from error
    meeting = threading.Thread(target=Workers(strategy).barrier, daemon=True)
    meeting.start()
    _wait(lambda: not meeting.is_alive(), name, addresses)
    print(f"{name}: all have come" + ("" if index == 0 else "; worker 0 tells how the training goes"), flush=True)
    return strategy


class Workers:
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
        self.addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
        self.count = max(1, len(self.addresses))
        self.index = 0
        if resolver and resolver.task_type == "worker":
            self.index = resolver.task_id + len(jobs.get("chief", []))
        self.is_chief = self.index == 0
        self.local_replicas = strategy.num_replicas_in_sync // self.count

    def gather(self, values: Sequence[float]) -> np.ndarray:
        """What each worker has given: float64 `[count, len(values)]`. Waits until all have called it."""
        values = np.asarray(values, np.float64)[np.newaxis]
        if self.count == 1:
            return values
        # A worker's row, in the place of the first of its replicas; zeros elsewhere.
        table = np.zeros([self.local_replicas, self.count, values.shape[1]])
        table[0, self.index] = values

        @tf.function
        def total(rows):
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, rows)

        first = self.index * self.local_replicas
        rows = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(table[context.replica_id_in_sync_group - first])
        )
        return self._strategy.experimental_local_results(self._strategy.run(total, args=(rows,)))[0].numpy()

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

    def expect_same(self, name: str, value: int) -> None:
        """Raises InputError in all workers if `value`, of what is called `name`, is not the same in all of them."""
        found = self.gather([value])[:, 0]
        if (found != value).any() or (found != found[0]).any():
            listed = ", ".join(f"{int(number)} in worker {index}" for index, number in enumerate(found))
            raise InputError(f"{name}: found {listed}; expected the same in all workers")

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
        """If another worker is gone while the block runs: an InputError that names it."""
        try:
            yield
        except _GONE as error:
            if self.count == 1:
                raise
            whom = ", ".join(f"worker {i} ({self.addresses[i]})" for i in self._gone(str(error)))
            whom = whom or f"a worker ({reason_of(error)})"
            raise InputError(
                f"{whom} does not answer any more; its own output says why. Start all {self.count} workers again: they "
                "go on from the last checkpoint"
            ) from error

    def _gone(self, message: str) -> list[int]:
        """Which workers TensorFlow's message calls dead, or, if it names none, which ones do not listen any more."""
        jobs = self._strategy.cluster_resolver.cluster_spec().as_dict()
        tasks = [(job, str(task)) for job in ("chief", "worker") for task in range(len(jobs.get(job, [])))]
        named = re.findall(r"/job:(\w+)/(?:replica:0/)?task:(\d+)(?=\n|$)", message)
        others = [index for index in range(self.count) if index != self.index]
        return [i for i in others if tasks[i] in named] or [i for i in others if not _answers(self.addresses[i])]


def _wait(is_over: Callable[[], bool], name: str, addresses: Sequence[str]) -> None:
    """Returns when `is_over()`; until then says now and then which of `addresses` do not answer yet."""

    def stop(number: int, frame: object) -> None:
        print(f"{name}: stopped while waiting for the others", flush=True)
        os._exit(128 + number)  # an ordinary exit would wait for TensorFlow, and so for the others

    # TensorFlow takes SIGTERM for itself.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    reminded = time.monotonic() - _REMIND_S + _PROBE_S
    while not is_over():
        if time.monotonic() - reminded > _REMIND_S:
            missing = [address for address in addresses if not _answers(address)]
            if missing:
                print(f"{name}: waiting for {', '.join(missing)}", flush=True)
            reminded = time.monotonic()
        time.sleep(0.1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_S):
            return True
    except OSError:
        return False
