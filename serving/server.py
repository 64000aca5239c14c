"""The embedded server: answers for an exported model over TensorFlow Serving's own gRPC API.

  python -m serving.server --model_base_path=DIR [--model_name=alexnet] [--port=8500]

DIR is what `python -m keras_alexnet.export --export_base=DIR` has written. Its newest version is served, and
replaced as soon as another is published. This is for a laptop and for tests; where throughput, batching or
encryption count, run TensorFlow Serving on the same folder: its clients see no difference.
"""

import signal
import socket
import threading
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from absl import flags

from pipelines.command import InputError, run
from serving import service
from serving.servable import GRAPH_FILE
from serving.versions import Versions, newest_version

POLL_SECONDS = 1.0  # the default of TensorFlow Serving's --file_system_poll_wait_seconds
GRACE_SECONDS = 30.0

_WORKERS = 8  # requests under way at once; TensorFlow spreads each of them over the cores
_OPTIONS = (
    (
        "grpc.so_reuseport",
        0,
    ),  # else a second server on the same port starts too and takes half of the requests
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 2**31 - 1),
)


def define_flags() -> None:
    """Flags of `python -m serving.server`; the names are those of TensorFlow Serving's own."""
    flags.DEFINE_string("model_name", "alexnet", "Name under which clients ask for the model.")
    flags.DEFINE_string("model_base_path", None, "Folder with one folder per version: DIR/1, DIR/2, ...", required=True)
    flags.DEFINE_integer("port", 8500, "TCP port for gRPC; 0 takes a free one.", 0, 65535)
    flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen on. There is no authentication: 0.0.0.0 lets everyone in."
    )


class ModelServer:
    """Serves the newest version under `model_base_path`; a context manager that answers from entry to exit.

    Args:
        model_name: name that requests must give.
        model_base_path: folder of integer-named SavedModel folders, looked through again every POLL_SECONDS.
        host: address to listen on.
        port: TCP port; 0 takes a free one.

    Attributes:
        address: "host:port" for clients on this machine.
        versions: what is served; `versions.current` changes when a version is published.

    Raises:
        InputError: nothing to serve under `model_base_path`, or the port cannot be had.
    """

    def __init__(self, model_name: str, model_base_path: str | Path, host: str = "127.0.0.1", port: int = 0):
        _check_free(host, port)  # before the seconds that loading takes
        self.versions = _load(Path(model_base_path))
        self._server = grpc.server(futures.ThreadPoolExecutor(_WORKERS), options=_OPTIONS)
        service.add_to_server(self._server, model_name, self.versions)
        bracketed = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{bracketed}:{port}")
        except RuntimeError as error:
            raise InputError(f"--port={port}: cannot listen on {host}: {error}") from error
        self.address = f"{bracketed}:{bound}"
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="model versions")

    def __enter__(self) -> Self:
        self._server.start()
        self._poller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes no more requests, and finishes those under way for at most GRACE_SECONDS."""
        self._stopping.set()
        self._server.stop(GRACE_SECONDS).wait()
        self._poller.join()

    def _poll(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            self.versions.refresh()


def _check_free(host: str, port: int) -> None:
    """gRPC says no more than "failed to bind"; the socket itself says why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = error.strerror.partition(" (")[0]
        raise InputError(
            f"--port={port}: cannot listen there on --host={host}: {reason}; --port=0 takes a free port"
        ) from error


def _load(base_path: Path) -> Versions:
    folder = newest_version(base_path)
    if folder is None:
        found = "no such folder"
        if base_path.is_dir():
            names = sorted(path.name for path in base_path.iterdir())
            found = f"it holds {', '.join(names[:5])}" + ", ..." * (len(names) > 5) if names else "it is empty"
        raise InputError(
            f"--model_base_path={base_path}: {found}; expected integer-named folders, each with a "
            f"{GRAPH_FILE}; `python -m keras_alexnet.export` makes one"
        )
    try:
        return Versions(base_path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--model_base_path={base_path}: cannot load {folder}: {reason}") from error


def main(argv: Sequence[str]) -> None:
    """Serves until SIGTERM or Ctrl-C; the requests under way are answered before it leaves."""
    given = flags.FLAGS
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    with ModelServer(given.model_name, given.model_base_path, given.host, given.port) as server:
        current = server.versions.current
        print(
            f"serving {given.model_name} version {current.version} at {server.address} "
            f"(signatures: {', '.join(current.callable_signatures)})",
            flush=True,
        )
        leave.wait()


if __name__ == "__main__":
    run(main, define_flags)
