"""The files that go with an export: its model card, and TensorFlow Serving's configuration beside the versions."""

import contextlib
import datetime
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from keras_alexnet.pretrained import CARD_FILE
from keras_alexnet.provenance import git_revision
from keras_alexnet.saved_model.model_card import model_card_markdown
from keras_alexnet.saved_model.warmup import ALLOWED_BATCH_SIZES

BATCHING_FILE = "batching_params.pbtxt"
MODELS_FILE = "models.config"


def model_card(model: keras.Model, served: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the network, its training and its export, as JSON can hold them.

    Args:
      model: the network.
      served: the options of the export.
      training: such as `LoadedNetwork.training`; may be empty.
    """
    packages = ("keras-alexnet", "tensorflow", "keras")
    return {
        "model": model.name,
        "parameters": model.count_params(),
        "input_size": model.input_shape[1],
        "served": dict(served),
        "training": dict(training),
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": git_revision(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def write_card(version_dir: Path, card: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Writes CARD_FILE, and the same as Markdown in README.md beside it. TensorFlow Serving reads neither."""
    path = version_dir / CARD_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_name("README.md").write_text(model_card_markdown(card, class_names), encoding="utf-8", newline="\n")


def write_serving_config(base: Path) -> None:
    """Writes BATCHING_FILE and MODELS_FILE into `base` unless they exist: operators edit them.

    TensorFlow Serving ignores names in this directory that are not numbers.
    """
    config = ModelServerConfig()
    model = config.model_config_list.config.add()
    model.name, model.base_path, model.model_platform = base.name, str(base.resolve()), "tensorflow"
    models = "# --model_config_file. base_path must be absolute: where the server sees this folder.\n"
    for name, text in (
        (BATCHING_FILE, batching_parameters()),
        (MODELS_FILE, models + text_format.MessageToString(config)),
    ):
        with contextlib.suppress(FileExistsError), open(base / name, "x", encoding="utf-8") as file:
            file.write(text)


def batching_parameters() -> str:
    """TensorFlow Serving's BatchingParameters as text; the sizes are those that the warm-up requests have."""
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in ALLOWED_BATCH_SIZES)
    return (
        "# --enable_batching --batching_parameters_file. The sizes are those of the export's warm-up requests.\n"
        f"max_batch_size {{ value: {ALLOWED_BATCH_SIZES[-1]} }}\n"
        f"{sizes}"
        "# Microseconds that a request waits for others.\n"
        "batch_timeout_micros { value: 5000 }\n"
        "# Batches in the queue; what comes on top of them is refused as UNAVAILABLE.\n"
        "max_enqueued_batches { value: 16 }\n"
        "# num_batch_threads, the batches in work at once, is the number of the server's cores if not set.\n"
    )
