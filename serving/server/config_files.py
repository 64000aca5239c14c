"""The configuration files of TensorFlow Serving: text protos, read as its own flags read them.

`ModelServerConfig` comes with tensorflow-serving-api. The other three messages do not; they are described here field
by field, from tensorflow_serving/config/ssl_config.proto and monitoring_config.proto, and from
tensorflow_serving/servables/tensorflow/session_bundle_config.proto (BatchingParameters). Text protos hold names only,
so the field numbers below need not be those of the originals.
"""

from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipelines.cli import reason_of

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"
_INT64, _BOOL, _STRING = (f".google.protobuf.{kind}Value" for kind in ("Int64", "Bool", "String"))

_MESSAGES: dict[str, dict[str, int | str]] = {
    "SSLConfig": {
        "server_key": _Field.TYPE_STRING,
        "server_cert": _Field.TYPE_STRING,
        "custom_ca": _Field.TYPE_STRING,
        "client_verify": _Field.TYPE_BOOL,
    },
    "PrometheusConfig": {"enable": _Field.TYPE_BOOL, "path": _Field.TYPE_STRING},
    "MonitoringConfig": {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"},
    "BatchingParameters": {
        "max_batch_size": _INT64,
        "batch_timeout_micros": _INT64,
        "max_enqueued_batches": _INT64,
        "num_batch_threads": _INT64,
        "thread_pool_name": _STRING,
        "allowed_batch_sizes": _Field.TYPE_INT64,
        "pad_variable_length_inputs": _Field.TYPE_BOOL,
        "enable_large_batch_splitting": _BOOL,
        "max_execution_batch_size": _INT64,
    },
}
_REPEATED = {"allowed_batch_sizes"}

_Text = TypeVar("_Text", bound=Message)


def _message_classes() -> dict[str, type[Message]]:
    """The messages above, in a pool of their own: another library may bring TensorFlow Serving's."""
    file = descriptor_pb2.FileDescriptorProto(
        name="keras_alexnet/serving_configuration.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            label = _Field.LABEL_REPEATED if field in _REPEATED else _Field.LABEL_OPTIONAL
            described = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                described.type, described.type_name = _Field.TYPE_MESSAGE, kind
            else:
                described.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _message_classes()
SSLConfig = _CLASSES["SSLConfig"]
MonitoringConfig = _CLASSES["MonitoringConfig"]
BatchingParameters = _CLASSES["BatchingParameters"]


def read_text_proto(path: str | Path, message: type[_Text], flag: str) -> _Text:
    """Reads the text proto in `path`.

    Args:
        path: the file.
        message: class of the message that is expected.
        flag: name of the flag that gave `path`, for error messages.

    Raises:
        ValueError: the file cannot be read, or is no such message.
    """
    try:
        return text_format.Parse(Path(path).read_bytes(), message())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{flag}={path}: cannot be read: {reason_of(error)}") from error
    except text_format.ParseError as error:
        raise ValueError(f"{flag}={path}: expected a {message.DESCRIPTOR.name} as text: {error}") from error


def single_model(name: str, base_path: str | Path) -> ModelServerConfig:
    """What TensorFlow Serving makes of its flags --model_name and --model_base_path."""
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
