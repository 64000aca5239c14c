"""Command: serves a web page that classifies the photographs dropped on it.

    python -m serving.server --model_name=alexnet --model_base_path=$PWD/build/quickstart/export/alexnet
    python -m keras_alexnet.demo --server=127.0.0.1:8500 --model=build/quickstart/model

The page sends photographs to TensorFlow Serving, or to the embedded server, over gRPC. With --model it also shows the
ten crops, the kernels and the activations of that network. Needs the extra `demo`: pip install 'keras-alexnet[demo]'.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags

from pipelines.cli import UsageError, define_path, reason_of, run
from pipelines.cli.startup import load_tensorflow_quietly

if TYPE_CHECKING:
    from keras_alexnet.demo.explanation import Explanation


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_string("server", "127.0.0.1:8500", "host:port of the gRPC port of TensorFlow Serving")
    flags.DEFINE_string("model_name", "alexnet", "name of the model on the server")
    flags.DEFINE_float("timeout_s", 30.0, "seconds to wait for a response of the server", 0.001, 86_400)
    flags.DEFINE_string("host", "127.0.0.1", "address to listen on; the default accepts this machine only")
    flags.DEFINE_integer("port", 8000, "port of the page; 0 chooses a free one", 0, 65535)
    define_path("model", None, "run directory, .keras file or weight file of the served network, to look inside")
    define_path("features_file", None, "file of `keras_alexnet.predict --features`, for the nearest photographs")


def main(argv: Sequence[str]) -> None:
    """Serves the page until Ctrl-C or SIGTERM."""
    options = flags.FLAGS
    try:
        import uvicorn

        from keras_alexnet.demo.app import Demo, create_app
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise UsageError(f"{error.name} is not installed: pip install 'keras-alexnet[demo]'") from error
    from serving.client import AsyncClient

    client = AsyncClient(options.server, options.model_name, options.timeout_s)
    demo = Demo(client, options.server, options.model_name, _explanation(options))
    with _listening(options.host, options.port) as listener:
        address = listener.getsockname()
        if not address[0].startswith("127."):
            print(f"listening on {address[0]}: everyone who reaches this address can use the page", flush=True)
        print(f"open http://{address[0]}:{address[1]}/ (press Ctrl-C to stop)", flush=True)
        config = uvicorn.Config(create_app(demo), log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


def _explanation(options: flags.FlagValues) -> Explanation | None:
    if options.model is None:
        if options.features_file is not None:
            raise UsageError("--model is missing: the features of a photograph are computed with it")
        return None
    load_tensorflow_quietly()
    from keras_alexnet.demo.explanation import Explanation

    return Explanation(options.model, options.features_file)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # connections are queued from now on
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port={port}: {host}: {reason_of(error)}; expected a free port of this machine"
            ) from error
        yield listener


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags, needs_tensorflow=False)


if __name__ == "__main__":
    command()
