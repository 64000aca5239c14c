"""The embedded server: serves exported models over TensorFlow Serving's own gRPC API.

  python -m serving.server --model_base_path=DIR [--model_name=alexnet] [--port=8500]
  python -m serving.server --model_config_file=serving/config/models.config

DIR is the export_base of `python -m keras_alexnet.export`. Its newest version is served, and replaced as soon as
another is published. Flags have the names and meanings of TensorFlow Serving's.

This is for one machine and for tests: one process of Python, no REST, no metrics, no batching, and no more than
--max_requests at a time. For everything else run TensorFlow Serving on the same folder; its clients see no difference.
"""

import ipaddress
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

try:
    from pipelines import cli
    from pipelines.cli.safe_text import one_line
except ImportError as error:
    # A folder of this name in the current directory comes before ours.
    sys.exit(f"error: serving needs its own package 'pipelines': {error}")

if TYPE_CHECKING:
    from serving.server.options import Options

_BATCHING_FLAGS = ("enable_batching", "batching_parameters_file", "enable_per_model_batching_parameters")


def define_flags() -> None:
    """Flags of `python -m serving.server`."""
    flags.DEFINE_string("model_name", "alexnet", "Name of the model in requests.")
    cli.define_path("model_base_path", None, "Folder with one folder per version: DIR/1, DIR/2, ...")
    cli.define_path(
        "model_config_file", None, "ModelServerConfig as text: models, policies, labels; replaces --model_base_path."
    )
    flags.DEFINE_integer("port", 8500, "TCP port for gRPC; 0 takes a free one.", 0, 65535)
    flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen on. There is no authentication: 0.0.0.0 admits everyone."
    )
    cli.define_path("ssl_config_file", None, "SSLConfig as text: keys and certificates; turns TLS on.")
    flags.DEFINE_boolean("enable_model_warmup", True, "Replay a version's warm-up requests before it is served.")
    flags.DEFINE_boolean("enable_grpc_healthcheck_service", False, "Serve grpc.health.v1.Health.")
    flags.DEFINE_boolean(
        "allow_version_labels_for_unavailable_models", False, "Let labels name versions that are still loading."
    )
    flags.DEFINE_float("file_system_poll_wait_seconds", 1.0, "How often to look for new versions.", 0.01, 86_400)
    flags.DEFINE_integer("grpc_max_threads", 0, "Requests processed at once; 0: four per core.", 0, 10_000)
    flags.DEFINE_integer(
        "max_requests", 256, "Requests in progress or waiting; further ones get RESOURCE_EXHAUSTED.", 1, 1_000_000
    )
    flags.DEFINE_list(
        "grpc_channel_arguments", [], "Settings of gRPC, for example grpc.max_receive_message_length=1000000."
    )
    for_tensorflow_serving = "For TensorFlow Serving; this server does not batch."
    flags.DEFINE_boolean("enable_batching", None, for_tensorflow_serving)
    cli.define_path("batching_parameters_file", None, for_tensorflow_serving)
    flags.DEFINE_boolean("enable_per_model_batching_parameters", None, for_tensorflow_serving)


def options_from_flags(given: flags.FlagValues) -> "Options":
    """The options that `given` holds, with the files that it names.

    Raises:
        ValueError: a file or a combination of flags cannot be used.
    """
    from serving.server.config_files import SSLConfig, read_models_config, read_text_proto
    from serving.server.options import Options

    if not given.model_base_path and not given.model_config_file:
        raise ValueError("missing --model_base_path or --model_config_file (--help lists the flags)")
    return Options(
        models=read_models_config(given.model_config_file) if given.model_config_file else None,
        tls=read_text_proto(given.ssl_config_file, SSLConfig, "ssl_config_file") if given.ssl_config_file else None,
        channel_arguments=tuple(map(_channel_argument, given.grpc_channel_arguments)),
        threads=given.grpc_max_threads,
        most_requests=given.max_requests,
        poll_seconds=given.file_system_poll_wait_seconds,
        warmup=given.enable_model_warmup,
        health=given.enable_grpc_healthcheck_service,
        label_unavailable=given.allow_version_labels_for_unavailable_models,
    )


def main(argv: Sequence[str]) -> None:
    """Serves until SIGTERM or Ctrl-C; the requests under way are finished first."""
    from serving.server.model_server import ModelServer

    given = flags.FLAGS
    options = options_from_flags(given)
    for line in notices(given):
        print(line, file=sys.stderr)
    with (
        cli.stop_signals(message="") as stop,
        ModelServer(given.model_name, given.model_base_path or "", given.host, given.port, options) as server,
    ):
        for name, versions in server.models.versions.items():
            numbers = ", ".join(map(str, sorted(versions.servables)))
            signatures = ", ".join(versions.find(None).callable_signatures)
            line = f"serving {name} version {numbers} at {server.address} (signatures: {signatures})"
            print(one_line(line), flush=True)
        stop.wait()


def notices(given: flags.FlagValues) -> list[str]:
    """What the user should know about the flags: one line each."""
    lines = []
    if any(given[name].value for name in _BATCHING_FLAGS):
        lines.append("warning: this server does not batch; --enable_batching is for TensorFlow Serving")
    if not _is_loopback(given.host):
        who = "to clients with a certificate of ssl_config_file" if given.ssl_config_file else "without authentication"
        lines.append(
            f"warning: --host={given.host}: everyone who reaches port {given.port} can send images, and read names, "
            f"signatures and states of the models, {who}"
        )
    return lines


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _channel_argument(text: str) -> tuple[str, int | str]:
    name, separator, value = text.partition("=")
    if not separator or not name.startswith("grpc."):
        raise ValueError(f"grpc_channel_arguments={text}: expected grpc.NAME=VALUE, separated by commas")
    return name, int(value) if value.lstrip("-").isdecimal() else value


def command() -> None:
    """Runs the command."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    command()
