"""The network of an export."""

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_alexnet.pretrained.loaded_network import LoadedNetwork, Signature
from pipelines.cli import reason_of
from pipelines.cli.literal_path import literal_path
from pipelines.cli.regular_files import check_directory, open_file
from serving import signatures as wire

# Where an export came from and what it was trained on, as JSON.
CARD_FILE = Path("assets.extra") / "model_card.json"
SAVED_MODEL_FILE = "saved_model.pb"
_MOST_GRAPH_BYTES = 2**28


def export_version(path: Path) -> Path | None:
    """Returns `path` if it is a version of an export, the newest version of a base directory, or None."""
    if (path / SAVED_MODEL_FILE).is_file():
        return path
    versions = [entry for entry in path.iterdir() if entry.name.isdecimal() and (entry / SAVED_MODEL_FILE).is_file()]
    return max(versions, key=lambda entry: int(entry.name), default=None)


def load_export(path: Path, version: Path) -> LoadedNetwork:
    """The network of an export.

    Args:
      path: as the user named it.
      version: the directory of the version.

    Raises:
      ValueError: it cannot be loaded, or is not an export of this project.
    """
    try:
        check_directory(version)
        open_file(version / SAVED_MODEL_FILE, _MOST_GRAPH_BYTES).close()
        with literal_path(version) as literal:
            exported = tf.saved_model.load(literal)
        class_names, display_names = (
            tuple((version / "assets" / asset).read_text(encoding="utf-8").split("\n")[:-1])
            for asset in (wire.CLASS_NAMES_ASSET, wire.LABELS_ASSET)
        )
        shape = exported.signatures[wire.SIGNATURE_IMAGES].structured_input_signature[1][wire.INPUT_IMAGES].shape
        card = json.loads((version / CARD_FILE).read_text(encoding="utf-8"))
        served, training = card["served"], card["training"]
    except (tf.errors.OpError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{version}: {reason_of(error)}; expected an export of keras_alexnet") from error
    return LoadedNetwork(
        source=str(path),
        resize=served["resize"],
        resized_size=shape[1],
        class_names=class_names,
        display_names=display_names,
        signatures={name: _signature(exported, name) for name in exported.signatures},
        training=training,
        steps=training.get("steps", 0),
    )


def _signature(exported: Any, name: str) -> Signature:
    def call(**inputs: Any) -> dict[str, tf.Tensor]:
        # The function alone would hold its variables weakly.
        return exported.signatures[name](**inputs)

    return call
