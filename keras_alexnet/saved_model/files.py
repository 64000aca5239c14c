"""The files that go with an export: its model card, and TensorFlow Serving's configuration beside the versions."""

import csv
import dataclasses
import datetime
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from keras_alexnet.run_directory import RunConfig
from keras_alexnet.saved_model.warmup import ALLOWED_BATCH_SIZES

CARD_FILE = Path("assets.extra") / "model_card.json"
BATCHING_FILE = "batching_params.pbtxt"
MODELS_FILE = "models.config"

_RESULT_FIELDS = ("dataset", "split", "views", "images", "skipped", "top1_error", "top5_error", "loss")


def model_card(model: keras.Model, served: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody who finds the export should know of it, as JSON can hold it.

    Args:
      model: the network.
      served: what was asked for at export.
      training: where it comes from, such as `training_record`; may be empty.
    """
    packages = ("keras-alexnet", "tensorflow", "keras")
    return {
        "model": model.name,
        "parameters": model.count_params(),
        "input_size": model.input_shape[1],
        "served": dict(served),
        "training": dict(training),
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": _git_revision(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def training_record(model_dir: str | os.PathLike, description: RunConfig, steps: int) -> dict[str, Any]:
    """How the network of `model_dir` was trained, on what, and how often it errs.

    `error_rates` are the rows of results.csv, as `keras_alexnet.evaluate` writes it, that belong to these `steps`:
    the newest of each dataset, split and views. Empty if nobody has evaluated the network.
    """
    fields = dataclasses.asdict(description)
    bad = fields.pop("bad_images")
    del fields["class_names"], fields["label_names"]
    statistics = RunConfig.statistics(model_dir)
    return fields | {
        "steps": steps,
        "bad_images_left_out": len(bad),
        "error_rates": _error_rates(Path(model_dir) / "results.csv", steps),
        "statistics": {
            "images": int(statistics.count),
            "rgb_mean": [float(value) for value in statistics.rgb_mean],
            "rgb_covariance": [[float(value) for value in row] for row in statistics.rgb_covariance],
        },
    }


def write_card(version_dir: Path, card: Mapping[str, Any]) -> None:
    """Writes CARD_FILE."""
    path = version_dir / CARD_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def write_serving_config(base: Path) -> None:
    """Writes BATCHING_FILE and MODELS_FILE into `base`, unless they are there: they are the operator's to change.

    TensorFlow Serving looks past whatever in the folder is no number.
    """
    config = ModelServerConfig()
    model = config.model_config_list.config.add()
    model.name, model.base_path, model.model_platform = base.name, str(base.resolve()), "tensorflow"
    models = "# --model_config_file. base_path must be absolute: where the server sees this folder.\n"
    for name, text in (
        (BATCHING_FILE, batching_parameters()),
        (MODELS_FILE, models + text_format.MessageToString(config)),
    ):
        try:
            with open(base / name, "x") as file:
                file.write(text)
        except FileExistsError:
            pass


def batching_parameters() -> str:
    """TensorFlow Serving's BatchingParameters as text; the sizes are those that the warm-up requests have."""
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in ALLOWED_BATCH_SIZES)
    return (
        "# --enable_batching --batching_parameters_file. Sizes are those that the export's warm-up requests have.\n"
        f"max_batch_size {{ value: {ALLOWED_BATCH_SIZES[-1]} }}\n"
        f"{sizes}"
        "# Microseconds that a request waits for others.\n"
        "batch_timeout_micros { value: 5000 }\n"
        "# Batches in the queue; what comes on top of them is refused as UNAVAILABLE.\n"
        "max_enqueued_batches { value: 16 }\n"
        "# num_batch_threads, the batches in work at once, is the number of the server's cores if not set.\n"
    )


def _error_rates(results: Path, steps: int) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    with open(results, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("steps") == str(steps)]
    newest = {(row.get("dataset"), row.get("split"), row.get("views")): row for row in rows}
    return [{name: _number(row.get(name)) for name in _RESULT_FIELDS} for row in newest.values()]


def _number(text: str | None) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def _git_revision() -> str | None:
    """Commit of the source tree, with "-dirty" after it where files differ; None outside of one."""
    source = Path(__file__)
    commands = (
        # Installed into an environment that lies in somebody else's repository, this file is not known there.
        ["git", "-C", str(source.parent), "ls-files", "--error-unmatch", source.name],
        ["git", "-C", str(source.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    try:
        for command in commands:
            found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
