"""How the embedded server runs: its options, and their flags, which have the names of TensorFlow Serving's."""

import os
from dataclasses import dataclass

from absl import flags
from google.protobuf.message import Message
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.batching import BatchingOptions, batching_options
from serving.configuration import BatchingParameters, SSLConfig, problem_in, read_text_proto

CORES = os.cpu_count() or 1
MOST_THREADS = 256

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Options:
    """What a `ModelServer` is told beside model and port.

    Attributes:
        models: several models, version policies and labels; takes the place of one model's name and base path.
        batching: how to merge requests into batches; None runs each by itself.
        per_model_batching: whether a version's own batching_params.pbtxt takes the place of `batching` for it.
        tls: a `configuration.SSLConfig`; None listens without encryption.
        channel_arguments: gRPC's own settings.
        threads: requests under way at once; 0 for four a core or, with batching, enough for two full batches.
        most_requests: requests under way or waiting; one more is answered with RESOURCE_EXHAUSTED.
        most_request_bytes: length of a request; a longer one is answered with RESOURCE_EXHAUSTED.
        poll_seconds: how often model folders are looked through.
        warmup: whether a version's stored requests are replayed before it is served.
        health: whether to answer grpc.health.v1.Health.
        label_unavailable: whether new labels may name versions that are not served yet.
    """

    models: ModelServerConfig | None = None
    batching: BatchingOptions | None = None
    per_model_batching: bool = False
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
        """`threads`, or what 0 stands for."""
        if self.threads:
            return self.threads
        rows = self.batching.max_execution_batch_size if self.batching else 0
        return min(max(4 * CORES, 2 * rows), MOST_THREADS)


def define_flags() -> None:
    """Flags of `python -m serving.server`."""
    flags.DEFINE_string("model_name", "alexnet", "Name under which clients ask for the model.")
    flags.DEFINE_string("model_base_path", None, "Folder with one folder per version: DIR/1, DIR/2, ...")
    flags.DEFINE_string(
        "model_config_file", None, "ModelServerConfig as text: models, version policies, labels; instead of the two."
    )
    flags.DEFINE_integer("port", 8500, "TCP port for gRPC; 0 takes a free one.", 0, 65535)
    flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen on. There is no authentication: 0.0.0.0 lets everyone in."
    )
    flags.DEFINE_boolean("enable_batching", False, "Merge requests of different clients into one run of the graph.")
    flags.DEFINE_string("batching_parameters_file", None, "BatchingParameters as text; serving/config has an example.")
    flags.DEFINE_boolean(
        "enable_per_model_batching_parameters", False, "Use the batching_params.pbtxt in a version's folder for it."
    )
    flags.DEFINE_string("ssl_config_file", None, "SSLConfig as text: keys and certificates; TLS if it is given.")
    flags.DEFINE_boolean("enable_model_warmup", True, "Replay a version's warm-up requests before it is served.")
    flags.DEFINE_boolean("enable_grpc_healthcheck_service", False, "Answer grpc.health.v1.Health.")
    flags.DEFINE_boolean(
        "allow_version_labels_for_unavailable_models", False, "Let new labels name versions that are still loading."
    )
    flags.DEFINE_float("file_system_poll_wait_seconds", 1.0, "How often to look for new versions.", 0.01)
    flags.DEFINE_integer("grpc_max_threads", 0, "Requests under way at once; 0 chooses by cores and batching.", 0)
    flags.DEFINE_integer("max_requests", 256, "Requests under way or waiting; more are RESOURCE_EXHAUSTED.", 1)
    flags.DEFINE_list(
        "grpc_channel_arguments", [], "gRPC's own settings, for example grpc.max_receive_message_length=1000000."
    )


def options_from_flags(given: flags.FlagValues) -> Options:
    """Reads the files that `given` names.

    Raises:
        ValueError: a file or a combination of flags cannot be used.
    """
    if not given.model_base_path and not given.model_config_file:
        raise ValueError("missing --model_base_path or --model_config_file (--help lists the flags)")
    return Options(
        models=_models(given.model_config_file) if given.model_config_file else None,
        batching=_batching(given),
        per_model_batching=given.enable_per_model_batching_parameters,
        tls=read_text_proto(given.ssl_config_file, SSLConfig, "ssl_config_file") if given.ssl_config_file else None,
        channel_arguments=tuple(map(_channel_argument, given.grpc_channel_arguments)),
        threads=given.grpc_max_threads,
        most_requests=given.max_requests,
        poll_seconds=given.file_system_poll_wait_seconds,
        warmup=given.enable_model_warmup,
        health=given.enable_grpc_healthcheck_service,
        label_unavailable=given.allow_version_labels_for_unavailable_models,
    )


def _models(path: str) -> ModelServerConfig:
    config = read_text_proto(path, ModelServerConfig, "model_config_file")
    problem = problem_in(config)
    if problem:
        raise ValueError(f"model_config_file={path}: {problem}")
    return config


def _batching(given: flags.FlagValues) -> BatchingOptions | None:
    path = given.batching_parameters_file
    if not given.enable_batching:
        if path or given.enable_per_model_batching_parameters:
            flag = "batching_parameters_file" if path else "enable_per_model_batching_parameters"
            raise ValueError(f"{flag} is set without --enable_batching; expected both or neither")
        return None
    parameters = BatchingParameters()
    if path:
        parameters = read_text_proto(path, BatchingParameters, "batching_parameters_file")
    return batching_options(parameters, f"--batching_parameters_file={path}", CORES)


def _channel_argument(text: str) -> tuple[str, int | str]:
    name, separator, value = text.partition("=")
    if not separator or not name.startswith("grpc."):
        raise ValueError(f"grpc_channel_arguments: found {text!r}; expected grpc.NAME=VALUE, separated by commas")
    return name, int(value) if value.lstrip("-").isdecimal() else value
