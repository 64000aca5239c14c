"""Options of the embedded server."""

import os
from dataclasses import dataclass

from google.protobuf.message import Message
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

CORES = os.cpu_count() or 1
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Options:
    """Options of a `ModelServer` besides model and port.

    Attributes:
        models: several models, version policies and labels; replaces the name and base path of one model.
        tls: a `config_files.SSLConfig`; None listens without encryption.
        channel_arguments: settings of gRPC.
        threads: requests under way at once; 0 for four per core.
        most_requests: requests under way or waiting; one more gets RESOURCE_EXHAUSTED.
        most_request_bytes: size of a request; a larger one gets RESOURCE_EXHAUSTED.
        poll_seconds: seconds between two looks at the model folders.
        warmup: whether a version's stored requests are replayed before it is served.
        health: whether to serve grpc.health.v1.Health.
        label_unavailable: whether labels may name versions that are not served yet.
    """

    models: ModelServerConfig | None = None
    tls: Message | None = None
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    threads: int = 0
    most_requests: int = 256
    most_request_bytes: int = 128 * _MEBIBYTE
    poll_seconds: float = 1.0
    warmup: bool = True
    health: bool = False
    label_unavailable: bool = False

    @property
    def worker_threads(self) -> int:
        """`threads`, or its default."""
        return self.threads or min(4 * CORES, 256)
