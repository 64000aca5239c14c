"""The tf.data service: starts it, reads batches from it, and watches it.

Each service decodes its share of every batch. The batches are bit-identical to those made locally and in the same
order, so a run can resume with other machines or with none. The service has no authentication.
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

from pipelines.cli import reason_of

_PROTOCOL = "grpc://"
_CONNECT_S = 10.0
_WATCH_S, _PATIENCE_S = 5.0, 60.0


def start(
    port: int = 0, worker_port: int = 0, host: str = "localhost"
) -> tuple[tf.data.experimental.service.DispatchServer, object]:
    """Starts a dispatcher and its one worker in this process.

    Both serve until they are no longer referenced; `dispatcher.target` is the address.

    Args:
      port: of the dispatcher, 0 for a free one.
      worker_port: of the worker, 0 for a free one.
      host: name or address by which trainers reach this machine; the dispatcher gives it to them.

    Raises:
      ValueError: a port cannot be used.
    """
    for argument, number in (("port", port), ("worker_port", worker_port)):
        _check_free(argument, number)
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    address = dispatcher.target.removeprefix(_PROTOCOL)
    config = service.WorkerConfig(dispatcher_address=address, worker_address=f"{host}:%port%", port=worker_port)
    return dispatcher, service.WorkerServer(config)


def _check_free(argument: str, port: int) -> None:
    # TensorFlow's servers would share a port at which another one listens.
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        raise ValueError(f"{argument}={port}: cannot listen there: {reason_of(error)}") from None


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
      ValueError: a malformed address, or no service there.
    """
    for address in addresses:
        _check_reachable(address)
    (index, count), services = shard, len(addresses)
    shares = [
        make((index + count * i, count * services)).apply(
            tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.OFF, address)
        )
        for i, address in enumerate(addresses)
    ]

    def interleaved(*batches: tuple) -> tuple:
        # Share i has every `services`-th image from the i-th on.
        return tf.nest.map_structure(_interleave, *batches)

    return tf.data.Dataset.zip(tuple(shares)).map(interleaved).prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def watched(addresses: Sequence[str]) -> Iterator[None]:
    """Ends this process, with one line and exit code 1, when one of the services was unreachable for a minute.

    TensorFlow would wait for an hour, and handles no signals meanwhile, so nothing milder works.

    Raises:
      ValueError: a service was restarted meanwhile, and has lost the state of this run.
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
                        print(f"error: --{error}; the newest checkpoint is kept", file=sys.stderr, flush=True)
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


def _interleave(*tensors: tf.Tensor) -> tf.Tensor:
    """Tensors [N,...]: the first row of each, then the second row of each, and so on."""
    return tf.reshape(tf.stack(tensors, axis=1), [-1, *tensors[0].shape[1:]])
