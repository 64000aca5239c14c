"""Reads configuration files of TensorFlow Serving: text protos.

`ModelServerConfig` comes with tensorflow-serving-api. `SSLConfig` does not; it is described here after
tensorflow_serving/config/ssl_config.proto. Text protos hold names only, so the field numbers need not be the same.
"""

from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipelines.cli import reason_of
from pipelines.cli.regular_files import MAX_TEXT_BYTES, read_file

_Field = descriptor_pb2.FieldDescriptorProto
_SSL_FIELDS = {
    "server_key": _Field.TYPE_STRING,
    "server_cert": _Field.TYPE_STRING,
    "custom_ca": _Field.TYPE_STRING,
    "client_verify": _Field.TYPE_BOOL,
}

_Text = TypeVar("_Text", bound=Message)


def _ssl_config_class() -> type[Message]:
    """The message in a pool of its own: another library may bring TensorFlow Serving's."""
    file = descriptor_pb2.FileDescriptorProto(
        name="keras_alexnet/ssl_config.proto", package="tensorflow.serving", syntax="proto3"
    )
    message = file.message_type.add(name="SSLConfig")
    for number, (name, kind) in enumerate(_SSL_FIELDS.items(), start=1):
        message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL, type=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.SSLConfig"))


SSLConfig = _ssl_config_class()


def read_text_proto(path: str | Path, message: type[_Text], argument: str) -> _Text:
    """Reads the text proto in `path`.

    Args:
        path: the file.
        message: class of the expected message.
        argument: name of the argument that gave `path`, for error messages.

    Raises:
        ValueError: the file cannot be read, or is not such a message.
    """
    try:
        return text_format.Parse(read_file(path, MAX_TEXT_BYTES), message())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{argument}={path}: cannot be read: {reason_of(error)}") from error
    except text_format.ParseError as error:
        raise ValueError(
            f"{argument}={path}: expected a {message.DESCRIPTOR.name} as text{f': {error}' if str(error) else ''}"
        ) from error


def read_models_config(path: str | Path) -> ModelServerConfig:
    """Reads the ModelServerConfig in `path`.

    Raises:
        ValueError: the file cannot be read, or TensorFlow Serving would refuse it.
    """
    config = read_text_proto(path, ModelServerConfig, "model_config_file")
    problem = problem_in(config)
    if problem:
        raise ValueError(f"model_config_file={path}: {problem}")
    return config


def single_model(name: str, base_path: str | Path) -> ModelServerConfig:
    """The ModelServerConfig of TensorFlow Serving's arguments model_name and model_base_path."""
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=str(Path(base_path).absolute()), model_platform="tensorflow"
    )
    return config


def problem_in(config: ModelServerConfig) -> str | None:
    """Why TensorFlow Serving would refuse `config` with INVALID_ARGUMENT, or None (ValidateModelConfigList)."""
    if config.WhichOneof("config") != "model_config_list":
        return "expected a model_config_list; nothing else can be configured"
    names = [model.name for model in config.model_config_list.config]
    for model in config.model_config_list.config:
        if not model.name:
            return "found a model without a name"
        if names.count(model.name) > 1:
            return f"Illegal to list model {model.name} multiple times in config list"
        if not Path(model.base_path).is_absolute():
            return f"Expected model {model.name} to have an absolute path; got base_path()={model.base_path}"
        if model.model_platform != "tensorflow":
            return f"Model {model.name} requests unsupported platform {model.model_platform!r}; expected 'tensorflow'"
    return None
