"""Command: makes training input for other machines, by tf.data service.

    python -m pipelines.service --port=5000 --worker_port=5001 --host=input1.example

on each input machine, and on the trainer

    python -m keras_alexnet.train --data_service=grpc://input1.example:5000,grpc://input2.example:5000 ...

Each service decodes its share of every batch. The batches are bit-identical to those made locally and in the same
order, so a run can resume with other machines or with none. Every machine must find the records under the same path.
The service has no authentication: its ports must not be reachable from other networks.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from absl import flags

from pipelines.cli import run


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_integer("port", 5000, "port of the dispatcher, on all addresses of this machine", 0, 65535)
    flags.DEFINE_integer("worker_port", 5001, "port of the worker, which sends the batches", 0, 65535)
    flags.DEFINE_string("host", None, "name or address by which trainers reach this machine; its own name if not set")


def main(argv: Sequence[str]) -> None:
    """Serves until it is stopped."""
    del argv
    from pipelines.input_service import start

    options = flags.FLAGS
    dispatcher, _worker = start(options.port, options.worker_port, options.host or socket.gethostname())
    print(f"serving training input at port {dispatcher.target.rsplit(':', 1)[1]}", flush=True)
    dispatcher.join()


def command() -> None:
    """Runs the command, as `python -m pipelines.service` does."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
