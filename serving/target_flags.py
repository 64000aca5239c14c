"""The flags of every command that asks a server: which server, which model."""

from dataclasses import fields
from typing import Any

from absl import flags

from serving.target import Target


def define(timeout_help: str) -> None:
    """Defines a flag for each attribute of Target."""
    flags.DEFINE_string("server", "127.0.0.1:8500", "host:port of the server's gRPC port.")
    flags.DEFINE_string("model_name", "alexnet", "Name under which the server serves the model.")
    flags.DEFINE_float("timeout_s", 60.0, timeout_help, 0.001)
    flags.DEFINE_integer("version", None, "Version of the model to ask; the newest if not given.", 0, 2**63 - 1)
    flags.DEFINE_string("version_label", None, "Label of the version to ask, for example stable.")
    define_certificates()


def define_certificates() -> None:
    """Defines the flags for TLS among them."""
    flags.DEFINE_string(
        "ca_certificate", None, "PEM file: talk TLS, to a server whose certificate is signed by one in it."
    )
    flags.DEFINE_string("client_certificate", None, "PEM file: the certificate to show to a server that asks for one.")
    flags.DEFINE_string("client_key", None, "PEM file: the key of --client_certificate.")


def values() -> dict[str, Any]:
    """What was given, by the names of Target's attributes."""
    return {field.name: flags.FLAGS[field.name].value for field in fields(Target)}
