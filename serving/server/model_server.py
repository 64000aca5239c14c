"""The embedded server: answers for exported models over TensorFlow Serving's own gRPC API.

  python -m serving.server --model_base_path=DIR [--model_name=alexnet] [--port=8500]
  python -m serving.server --model_config_file=serving/config/models.config

DIR is what `python -m keras_alexnet.export --export_base=DIR` has written. Its newest version is served, and
replaced as soon as another is published. Flags have the names and meanings of TensorFlow Serving's.

This is for a laptop and for tests: one process of Python, no REST, no metrics, and no more than --max_requests at a
time. For everything else run TensorFlow Serving on the same folder; its clients see no difference.
"""

import functools
import queue
import signal
import socket
import threading
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from absl import flags, logging
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from pipelines.cli import run
from serving import service
from serving.batching import batching_options
from serving.configuration import BatchingParameters, read_text_proto, single_model
from serving.models import Models
from serving.request_errors import RequestError
from serving.servable import GRAPH_FILE, Servable
from serving.server_options import Options, define_flags, options_from_flags
from serving.versions import Versions
from serving.warmup_replay import replay_warmup

GRACE_SECONDS = 30.0
PER_MODEL_BATCHING_FILE = "batching_params.pbtxt"  # TensorFlow Serving's name for it

# What TensorFlow Serving reports with its --enable_grpc_healthcheck_service, whatever its models do.
_HEALTHY = ("", "PredictionService", "ModelService")

_CHANNEL_ARGUMENTS = (
    ("grpc.so_reuseport", 0),  # else a second server on the same port starts too and takes half of the requests
    ("grpc.max_send_message_length", -1),
)


class ModelServer:
    """Serves models; a context manager that answers from entry to exit.

    Args:
        model_name: name that requests must give; unused if `options.models` is given, as in TensorFlow Serving.
        model_base_path: folder of integer-named SavedModel folders, likewise.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        options: everything else.

    Attributes:
        address: "host:port" for clients on this machine.
        models: what is served; it changes when versions are published and when clients send a configuration.

    Raises:
        ValueError: nothing to serve, keys and certificates that do not fit, or the port cannot be had.
    """

    def __init__(
        self,
        model_name: str = "",
        model_base_path: str | Path = "",
        host: str = "127.0.0.1",
        port: int = 0,
        options: Options = Options(),  # noqa: B008 (it is frozen)
    ):
        _check_free(host, port)  # before the seconds that loading takes
        credentials = _credentials(options)
        self.models = _loaded(model_name, model_base_path, options)
        arguments = {"grpc.max_receive_message_length": options.most_request_bytes} | dict(options.channel_arguments)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(options.worker_threads, "request"),
            options=(*_CHANNEL_ARGUMENTS, *arguments.items()),
            maximum_concurrent_rpcs=options.most_requests,
        )
        service.add_to_server(self._server, self.models)
        self._health = _add_health(self._server) if options.health else None
        self.address = self._listen(host, port, credentials)
        self._poll_seconds = options.poll_seconds
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
        if self._health:
            self._health.enter_graceful_shutdown()
        self._stopping.set()
        self.models.changed.set()
        self._server.stop(GRACE_SECONDS).wait()
        self._poller.join()

    def _listen(self, host: str, port: int, credentials: grpc.ServerCredentials | None) -> str:
        bracketed = f"[{host}]" if ":" in host else host
        address = f"{bracketed}:{port}"
        try:
            if credentials:
                bound = self._server.add_secure_port(address, credentials)
            else:
                bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            if credentials:
                raise ValueError(
                    "ssl_config_file: gRPC cannot use these; expected a server_key, the server_cert that belongs to "
                    "it, and a custom_ca, each as the text of a .pem file"
                ) from error
            raise ValueError(f"port={port}: cannot listen on {host}: {error}") from error
        return f"{bracketed}:{bound}"

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self.models.changed.wait(self._poll_seconds)
            if self._stopping.is_set():
                return
            try:
                self.models.refresh()
            except Exception:  # of the file system's: it may come back, and what is loaded is still served
                logging.exception("looking through the model folders failed")


def _add_health(server: grpc.Server) -> HealthServicer:
    health = HealthServicer()
    for name in _HEALTHY:
        health.set(name, HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    return health


def _check_free(host: str, port: int) -> None:
    """gRPC says no more than "failed to bind"; the socket itself says why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = error.strerror.partition(" (")[0]
        raise ValueError(
            f"port={port}: cannot listen there on --host={host}: {reason}; --port=0 takes a free port"
        ) from error


def _credentials(options: Options) -> grpc.ServerCredentials | None:
    """The keys of `options`, used as TensorFlow Serving uses them (model_servers/server.cc)."""
    if options.tls is None:
        return None
    key, certificate = options.tls.server_key.encode(), options.tls.server_cert.encode()
    for name, pem in (("server_key", key), ("server_cert", certificate)):
        if not pem.startswith(b"-----BEGIN "):
            raise ValueError(f"ssl_config_file: {name} holds no PEM block; expected the text of a .pem file")
    roots = options.tls.custom_ca.encode() or None
    if options.tls.client_verify and roots is None:
        raise ValueError("ssl_config_file: client_verify is true without custom_ca; expected the clients' authority")
    return grpc.ssl_server_credentials([(key, certificate)], roots, options.tls.client_verify)


def _loaded(model_name: str, model_base_path: str | Path, options: Options) -> Models:
    config = options.models or single_model(model_name, model_base_path)
    try:
        models = Models(config, functools.partial(_load, options, _batch_threads(options)), options.label_unavailable)
    except RequestError as error:
        hint = "; --allow_version_labels_for_unavailable_models lets labels wait for their versions"
        raise ValueError(f"model_config_file: {error}{hint}") from error
    for versions in models.versions.values():
        if versions.current is None:
            flag = "--model_config_file: base_path " if options.models else "--model_base_path="
            raise ValueError(f"{flag}{versions.config.base_path}: {_why_nothing(versions)}")
    return models


def _batch_threads(options: Options) -> threading.Semaphore | None:
    return threading.Semaphore(options.batching.num_batch_threads) if options.batching else None


def _load(options: Options, batch_threads: threading.Semaphore | None, folder: Path) -> Servable:
    batching, own = options.batching, folder / PER_MODEL_BATCHING_FILE
    if batching and options.per_model_batching and own.exists():
        parameters = read_text_proto(own, BatchingParameters, "enable_per_model_batching_parameters")
        batching = batching_options(parameters, str(own), batching.num_batch_threads)
    servable = Servable(folder, batching, batch_threads)
    if options.warmup:
        replay_warmup(servable, folder)
    return servable


def _why_nothing(versions: Versions) -> str:
    base_path = Path(versions.config.base_path)
    refused = next((status for status in versions.status() if status.status.error_message), None)
    if refused:
        return f"cannot load {base_path / str(refused.version)}: {refused.status.error_message}"
    found = "no such folder"
    if base_path.is_dir():
        names = sorted(path.name for path in base_path.iterdir())
        found = f"it holds {', '.join(names[:5])}" + ", ..." * (len(names) > 5) if names else "it is empty"
    return (
        f"{found}; expected integer-named folders, each with a {GRAPH_FILE}, of which the version policy takes one "
        "or more; `python -m keras_alexnet.export` makes one"
    )


def main(argv: Sequence[str]) -> None:
    """Serves until SIGTERM or Ctrl-C; the requests under way are answered before it leaves."""
    given = flags.FLAGS
    options = options_from_flags(given)
    leave: queue.SimpleQueue[int] = queue.SimpleQueue()  # an Event that is set while it is being waited for may hang
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: leave.put(number))
    with ModelServer(given.model_name, given.model_base_path or "", given.host, given.port, options) as server:
        for name, versions in server.models.versions.items():
            numbers = ", ".join(map(str, sorted(versions.servables)))
            print(
                f"serving {name} version {numbers} at {server.address} "
                f"(signatures: {', '.join(versions.current.callable_signatures)})",
                flush=True,
            )
        leave.get()


if __name__ == "__main__":
    run(main, define_flags)
