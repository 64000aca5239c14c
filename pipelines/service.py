"""Training input from other machines, by tf.data service: each decodes its share of every batch.

    python -m pipelines.service --port=5000 --worker_port=5001 --host=input1.example

on each input machine, and on the trainer

    python -m keras_alexnet.train --data_service=grpc://input1.example:5000,grpc://input2.example:5000 ...

The batches are those made locally, bit for bit and in the same order, so a run may be resumed with other machines or
with none. Every machine must find the records under the same path. The service has no authentication: its ports must
not face strangers.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from absl import flags

from pipelines.cli import reason_of, run

_PROTOCOL = "grpc://"
_CONNECT_S = 10.0
_WATCH_S, _PATIENCE_S = 5.0, 60.0


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_integer("port", 5000, "trainers ask for batches here, on all addresses of this machine", 0, 65535)
    flags.DEFINE_integer("worker_port", 5001, "and are sent them from here", 0, 65535)
    flags.DEFINE_string("host", None, "name or address by which trainers reach this machine; its own name if not set")


def start(
    port: int = 0, worker_port: int = 0, host: str = "localhost"
) -> tuple[tf.data.experimental.service.DispatchServer, object]:
    """Starts serving in this process: a dispatcher and its one worker.

    Both serve until they are no longer referred to; `dispatcher.target` is the address.

    Args:
      port: of the dispatcher, 0 for a free one.
      worker_port: of the worker, 0 for a free one.
      host: by which trainers, who are told of the worker by the dispatcher, reach this machine.

    Raises:
      ValueError: a port cannot be used.
    """
    for flag, number in (("port", port), ("worker_port", worker_port)):
        _check_free(flag, number)
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    address = dispatcher.target.removeprefix(_PROTOCOL)
    config = service.WorkerConfig(dispatcher_address=address, worker_address=f"{host}:%port%", port=worker_port)
    return dispatcher, service.WorkerServer(config)


def _check_free(flag: str, port: int) -> None:
    # TensorFlow's servers would share a port that another one listens at.
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        raise ValueError(f"{flag}={port}: cannot listen there: {reason_of(error)}") from None


def served_batches(
    addresses: Sequence[str],
    make: Callable[[tuple[int, int]], tf.data.Dataset],
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """The batches of `make(shard)`, made by the services at `addresses`.

    Args:
      addresses: "grpc://host:port", each with a dispatcher and one worker, as `start` starts them.
      make: gives the share (index, count) of every batch: `training_batches` or `crop_batches` with all but `shard`
        filled in.
      shard: the share of this trainer.

    Returns:
      Elements as those of `make(shard)`.

    Raises:
      ValueError: an address that is none, or at which nobody listens.
    """
    for address in addresses:
        _check_reachable(address)
    (index, count), services = shard, len(addresses)
    parts = [
        make((index + count * i, count * services)).apply(
            tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.OFF, address)
        )
        for i, address in enumerate(addresses)
    ]

    def joined(*parts: tuple) -> tuple:
        # Share i has every so-many-th image from the i-th on.
        return tf.nest.map_structure(_interleaved, *parts)

    return tf.data.Dataset.zip(tuple(parts)).map(joined).prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def watched(addresses: Sequence[str]) -> Iterator[None]:
    """Ends this process, with one line and exit code 1, once one of the services was out of reach for a minute.

    TensorFlow waits for it an hour, and for as long no signal is heeded: nothing milder gets through to it.

    Raises:
      ValueError: a service was started anew meanwhile, and knows nothing of the batches that it was asked for.
    """
    done = threading.Event()

    def watch() -> None:
        seen = dict.fromkeys(addresses, time.monotonic())
        while not done.wait(_WATCH_S):
            for address in addresses:
                try:
                    _check_reachable(address)
                    seen[address] = time.monotonic()
                except ValueError as error:
                    if time.monotonic() - seen[address] > _PATIENCE_S:
                        print(f"error: {error}; the newest checkpoint is kept", file=sys.stderr, flush=True)
                        os._exit(1)

    if addresses:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.UnavailableError) as error:
        if not addresses:
            raise
        raise ValueError(
            f"data_service={','.join(addresses)}: {reason_of(error)}; the newest checkpoint is kept"
        ) from error
    finally:
        done.set()


def _check_reachable(address: str) -> None:
    host, _, port = address.removeprefix(_PROTOCOL).rpartition(":")
    if not (address.startswith(_PROTOCOL) and host and port.isdecimal()):
        raise ValueError(f"data_service={address}: expected grpc://host:port")
    # TensorFlow would try for an hour.
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"data_service={address}: {reason_of(error)}; expected pipelines.service there") from None


def _interleaved(*tensors: tf.Tensor) -> tf.Tensor:
    """Tensors [N,...]: the first row of each, then the second row of each, and so on."""
    return tf.reshape(tf.stack(tensors, axis=1), [-1, *tensors[0].shape[1:]])


def main(argv: Sequence[str]) -> None:
    """Serves until it is stopped."""
    del argv
    options = flags.FLAGS
    dispatcher, _worker = start(options.port, options.worker_port, options.host or socket.gethostname())
    print(f"serving training input at port {dispatcher.target.rsplit(':', 1)[1]}", flush=True)
    dispatcher.join()


if __name__ == "__main__":
    run(main, define_flags)
