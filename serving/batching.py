"""Merges the requests of different clients into one run of the graph, as TensorFlow Serving's BatchingSession does.

TensorFlow's own BatchFunction is not used: what it allocates, threads included, stays until the process ends, so that
every version that was ever served would leave some behind.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import tensorflow as tf
from google.protobuf.message import Message

from serving.request_errors import RequestError

Tensors = dict[str, tf.Tensor]


@dataclass(frozen=True)
class BatchingOptions:
    """How requests are merged; the names and the default values are those of TensorFlow's SharedBatchScheduler.

    Attributes:
        max_batch_size: rows of a request, and of a batch unless large requests are split.
        batch_timeout_micros: microseconds that a batch waits for more requests.
        max_enqueued_batches: batches of one signature that may wait for a thread; one more is UNAVAILABLE.
        num_batch_threads: batches that run at once, of all signatures and models.
        allowed_batch_sizes: sizes to which batches are padded, ascending; empty for any.
        max_execution_batch_size: rows of a batch. Greater requests are cut into several.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()
    max_execution_batch_size: int = 1000


def batching_options(parameters: Message, source: str, threads: int) -> BatchingOptions:
    """Reads `parameters`.

    Args:
        parameters: a `configuration.BatchingParameters`.
        source: where it comes from, for error messages.
        threads: num_batch_threads if it is not given.

    Raises:
        ValueError: TensorFlow Serving would refuse it, or it asks for padding of variable-length inputs.
    """
    given = {
        field.name: value.value for field, value in parameters.ListFields() if field.message_type and value is not None
    }
    splitting = given.pop("enable_large_batch_splitting", False)
    given.pop("thread_pool_name", None)
    longest = given.get("max_batch_size", BatchingOptions.max_batch_size)
    if not splitting or "max_execution_batch_size" not in given:
        given["max_execution_batch_size"] = longest
    given.setdefault("num_batch_threads", threads)
    options = BatchingOptions(**given, allowed_batch_sizes=tuple(parameters.allowed_batch_sizes))
    _check(options, source, parameters.pad_variable_length_inputs)
    return options


def _check(options: BatchingOptions, source: str, pads_inputs: bool) -> None:
    sizes = options.allowed_batch_sizes
    at_least_one = ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "max_execution_batch_size")
    for name in at_least_one:
        if getattr(options, name) < 1:
            raise ValueError(f"{source}: {name} is {getattr(options, name)}; expected 1 or more")
    if options.batch_timeout_micros < 0:
        raise ValueError(f"{source}: batch_timeout_micros is {options.batch_timeout_micros}; expected 0 or more")
    if options.max_execution_batch_size > options.max_batch_size:
        raise ValueError(f"{source}: max_execution_batch_size is greater than max_batch_size")
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != options.max_execution_batch_size):
        raise ValueError(
            f"{source}: allowed_batch_sizes are {list(sizes)}; expected ascending numbers, the last one the size of "
            f"the greatest batch, {options.max_execution_batch_size}"
        )
    if pads_inputs:
        raise ValueError(f"{source}: pad_variable_length_inputs is not part of the embedded server")


class _Batch:
    """Requests that run together: the first one's thread runs it, the others wait for `done`."""

    def __init__(self) -> None:
        self.tasks: list[Tensors] = []
        self.rows = 0
        self.is_full, self.done = threading.Event(), threading.Event()
        self.outputs: list[Tensors] = []
        self.error: Exception | None = None


class Batcher:
    """Runs one function for many threads at once, in batches.

    Args:
        function: named tensors `[N, ...]` -> named tensors `[N, ...]`.
        options: how to merge.
        threads: bounds the batches that run at once; shared by all batchers of a server.
    """

    def __init__(self, function: Callable[[Tensors], Tensors], options: BatchingOptions, threads: threading.Semaphore):
        self._function, self._options, self._threads = function, options, threads
        self._lock = threading.Lock()
        self._waiting: deque[_Batch] = deque()  # for a thread; only the last one takes more requests

    def __call__(self, inputs: Tensors) -> Tensors:
        """The outputs for `inputs`, from a run that may have served others as well.

        Raises:
            RequestError: INVALID_ARGUMENT for inputs that are no rows or too many, UNAVAILABLE for a full queue. Also
                whatever the function raised; all requests of the batch get it.
        """
        rows, longest = _rows(inputs), self._options.max_batch_size
        if rows > longest:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Task size {rows} is larger than maximum input batch size {longest}",
            )
        step = self._options.max_execution_batch_size
        parts = [_slice(inputs, start, start + step) for start in range(0, max(rows, 1), step)]
        return _joined([self._run(part, _rows(part)) for part in parts])

    def _run(self, inputs: Tensors, rows: int) -> Tensors:
        batch, place = self._join(inputs, rows)
        if place == 0:
            batch.is_full.wait(self._options.batch_timeout_micros / 1e6)
            with self._threads:
                with self._lock:
                    self._waiting.remove(batch)
                self._execute(batch)
        else:
            batch.done.wait()
        if batch.error is not None:
            raise batch.error
        return batch.outputs[place]

    def _join(self, inputs: Tensors, rows: int) -> tuple[_Batch, int]:
        """Puts a request into the last batch that waits, or into a new one; also says as which."""
        longest = self._options.max_execution_batch_size
        with self._lock:
            batch = self._waiting[-1] if self._waiting else None
            if batch is None or batch.rows + rows > longest:
                if len(self._waiting) >= self._options.max_enqueued_batches:
                    raise RequestError(
                        grpc.StatusCode.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full",
                    )
                if batch is not None:
                    batch.is_full.set()
                batch = _Batch()
                self._waiting.append(batch)
            batch.tasks.append(inputs)
            batch.rows += rows
            if batch.rows >= longest:
                batch.is_full.set()
            return batch, len(batch.tasks) - 1

    def _execute(self, batch: _Batch) -> None:
        try:
            merged = _joined(batch.tasks)
            sizes = (size for size in self._options.allowed_batch_sizes if size >= batch.rows)
            padding = next(sizes, batch.rows) - batch.rows if batch.rows else 0
            outputs = self._function(_padded(merged, padding))
            bounds = [0]
            for task in batch.tasks:
                bounds.append(bounds[-1] + _rows(task))
            for name, output in outputs.items():
                if output.shape.rank < 1 or output.shape[0] != batch.rows + padding:
                    raise RequestError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of "
                        f"the input tensors: output {name!r} is {output.shape} for {batch.rows + padding} rows",
                    )
            batch.outputs = [_slice(outputs, start, end) for start, end in itertools.pairwise(bounds)]
        except Exception as error:  # it belongs to the requests of the batch, which may wait in other threads
            batch.error = error
        finally:
            batch.done.set()


def _rows(inputs: Tensors) -> int:
    if any(tensor.shape.rank == 0 for tensor in inputs.values()):
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension"
        )
    rows = {int(tensor.shape[0]) for tensor in inputs.values()}
    if len(rows) != 1:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, "Batching Run() input tensors must have equal 0th-dimension size"
        )
    return rows.pop()


def _slice(tensors: Tensors, start: int, end: int) -> Tensors:
    return {name: tensor[start:end] for name, tensor in tensors.items()}


def _joined(parts: Sequence[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}


def _padded(tensors: Tensors, rows: int) -> Tensors:
    """`tensors` with the first row `rows` times more; it is known to be good input."""
    if rows == 0:
        return tensors
    return {name: tf.concat([tensor, tf.repeat(tensor[:1], rows, axis=0)], axis=0) for name, tensor in tensors.items()}
