"""Training input from other machines, by tf.data service: each decodes its share of every batch.

    python -m pipelines.service --port=5000

on each input machine; the trainer is given their addresses. The batches are those of `training_batches`, bit for bit
and in the same order, so a run may be resumed with other machines or with none. Every machine must find the records
under the same path. The service has no authentication: its port must not face strangers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import flags

from pipelines.command import InputError, reason_of, run

_PROTOCOL = "grpc://"


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_integer("port", 5000, "where to listen, on all addresses of this machine", 0, 65535)


def start(port: int = 0) -> tuple[tf.data.experimental.service.DispatchServer, object]:
    """Starts serving in this process: a dispatcher, which listens at `port` (0 for a free one), and its one worker.

    Both serve until they are no longer referred to; `dispatcher.target` is the address.

    Raises:
      InputError: the port cannot be used.
    """
    if port:
        # The dispatcher itself would share a port that another one listens at.
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", port))
        except OSError as error:
            raise InputError(f"--port={port}: cannot listen there: {reason_of(error)}") from None
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    address = dispatcher.target.removeprefix(_PROTOCOL)
    return dispatcher, service.WorkerServer(service.WorkerConfig(dispatcher_address=address))


def served_batches(
    addresses: Sequence[str],
    make: Callable[[tuple[int, int]], tf.data.Dataset],
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """The batches of `make(shard)`, made by the services at `addresses`.

    Args:
      addresses: "grpc://host:port", each with a dispatcher and one worker, as `start` starts them.
      make: gives the share (index, count) of every batch: `training_batches` with all but `shard` filled in.
      shard: the share of this trainer.

    Returns:
      Elements (images, labels), as those of `make(shard)`.

    Raises:
      InputError: an address that is none.
    """
    for address in addresses:
        if not address.startswith(_PROTOCOL):
            raise InputError(f"--data_service={address}: expected grpc://host:port")
    (index, count), services = shard, len(addresses)
    parts = [
        make((index + count * i, count * services)).apply(
            tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.OFF, address)
        )
        for i, address in enumerate(addresses)
    ]

    def joined(*parts: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        # Share i has every so-many-th image from the i-th on.
        return tuple(_interleaved(tensors) for tensors in zip(*parts, strict=True))

    return tf.data.Dataset.zip(tuple(parts)).map(joined).prefetch(tf.data.AUTOTUNE)


def _interleaved(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Tensors [N,...]: the first row of each, then the second row of each, and so on."""
    return tf.reshape(tf.stack(tensors, axis=1), [-1, *tensors[0].shape[1:]])


def main(argv: Sequence[str]) -> None:
    """Serves until it is stopped."""
    del argv
    dispatcher, _worker = start(flags.FLAGS.port)
    print(f"serving training input at port {dispatcher.target.rsplit(':', 1)[1]}", flush=True)
    dispatcher.join()


if __name__ == "__main__":
    run(main, define_flags)
