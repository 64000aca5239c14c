"""The embedded server: TensorFlow Serving's gRPC API in one Python process."""

import functools
import socket
import threading
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from absl import logging
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from serving.server import grpc_service
from serving.server.config_files import single_model
from serving.server.model_manager import ModelManager
from serving.server.options import Options
from serving.server.servable import GRAPH_FILE, Servable
from serving.server.status import RequestError
from serving.server.version_policy import Versions
from serving.server.warmup import replay_warmup

GRACE_SECONDS = 30.0

# What TensorFlow Serving reports with its --enable_grpc_healthcheck_service, whatever its models do.
_HEALTHY = ("", "PredictionService", "ModelService")

_CHANNEL_ARGUMENTS = (
    ("grpc.so_reuseport", 0),  # else a second server on the same port starts too and takes half of the requests
    ("grpc.max_send_message_length", -1),
)


class ModelServer:
    """Serves models; a context manager that responds from entry to exit.

    Answers Predict, GetModelMetadata, GetModelStatus and health checks, replays warm-up requests and swaps versions as
    they are published. It does not batch.

    Args:
        model_name: name of the model; unused if `options.models` is given, as in TensorFlow Serving.
        model_base_path: folder of integer-named SavedModel folders, likewise.
        host: address to listen on. There is no authentication but client certificates (`options.tls`).
        port: TCP port; 0 takes a free one.
        options: everything else.

    Attributes:
        address: "host:port" for clients on this machine.
        models: what is served; it changes when versions are published.

    Raises:
        ValueError: nothing to serve, keys and certificates that do not fit, or the port cannot be used.

    Examples:
        >>> with ModelServer("alexnet", "export/alexnet") as server, Client(server.address) as client:
        ...     client.classify(["photo.jpg"])
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
        self.models = _load_models(model_name, model_base_path, options)
        arguments = {"grpc.max_receive_message_length": options.most_request_bytes} | dict(options.channel_arguments)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(options.worker_threads, "request"),
            options=(*_CHANNEL_ARGUMENTS, *arguments.items()),
            maximum_concurrent_rpcs=options.most_requests,
        )
        grpc_service.add_to_server(self._server, self.models)
        self._health = _add_health(self._server) if options.health else None
        self.address = self._listen(host, port, credentials)
        self._poll_seconds = options.poll_seconds
        self._stopping = threading.Event()
        # A daemon: a file system that does not respond must not keep the process from ending.
        self._poller = threading.Thread(target=self._poll, name="model versions", daemon=True)

    def __enter__(self) -> Self:
        self._server.start()
        self._poller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Accepts no more requests, and finishes those under way for at most GRACE_SECONDS."""
        if self._health:
            self._health.enter_graceful_shutdown()
        self._stopping.set()
        self._server.stop(GRACE_SECONDS).wait()
        self._poller.join(GRACE_SECONDS)

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
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.models.refresh()
            except Exception:  # of the file system: it may come back, and loaded versions are still served
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
        reason = str(error.strerror).partition(" (")[0]
        raise ValueError(f"port={port}: cannot listen on host={host}: {reason}; port 0 takes a free one") from error


def _credentials(options: Options) -> grpc.ServerCredentials | None:
    """The keys of `options`, used as TensorFlow Serving uses them (model_servers/server.cc)."""
    tls = options.tls
    if tls is None:
        return None
    key, certificate, custom_ca = (getattr(tls, name).encode() for name in ("server_key", "server_cert", "custom_ca"))
    for name, pem in (("server_key", key), ("server_cert", certificate)):
        if not pem.startswith(b"-----BEGIN "):
            raise ValueError(f"ssl_config_file: {name} holds no PEM block; expected the text of a .pem file")
    verify = getattr(tls, "client_verify")  # noqa: B009 (the message class is built at run time)
    if verify and not custom_ca:
        raise ValueError("ssl_config_file: client_verify is true without custom_ca; expected the clients' authority")
    return grpc.ssl_server_credentials([(key, certificate)], custom_ca or None, verify)


def _load_models(model_name: str, model_base_path: str | Path, options: Options) -> ModelManager:
    config = options.models or single_model(model_name, model_base_path)
    try:
        models = ModelManager(config, functools.partial(_load, options), options.label_unavailable)
    except RequestError as error:
        hint = "; allow_version_labels_for_unavailable_models lets labels wait for their versions"
        raise ValueError(f"model_config_file: {error}{hint}") from error
    for versions in models.versions.values():
        if versions.current is None:
            argument = "model_config_file: base_path " if options.models else "model_base_path="
            raise ValueError(f"{argument}{versions.config.base_path}: {_why_nothing(versions)}")
    return models


def _load(options: Options, folder: Path) -> Servable:
    servable = Servable(folder)
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
        f"{found}; expected integer-named folders, each with a {GRAPH_FILE}, of which the version policy selects one "
        "or more; `python -m keras_alexnet.export` makes one"
    )
