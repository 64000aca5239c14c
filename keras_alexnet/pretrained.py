"""`load_network(path)`: the network of a run directory, an export, a `.keras` file or a weight file."""

import csv
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet import networks
from keras_alexnet.checkpoints import load_trained
from keras_alexnet.classifier import (
    alexnet_input,
    check_classifier,
    resized_size,
    resolve_inputs_and_outputs,
    with_image_size,
)
from keras_alexnet.model import imagenet_names, imagenet_wnids
from keras_alexnet.run_directory import RunConfig, RunDirectory
from keras_alexnet.ten_crop import Preprocessing
from keras_alexnet.variants import VARIANTS, find_variant
from keras_alexnet.weights import check_keras_file, recognise
from keras_alexnet.weights.assign import assign, assign_by_name, read_weights
from keras_alexnet.weights.compatibility import classifier, named_as_ours, same_filters, variants_of
from keras_alexnet.weights.formats import FAMILIES, WeightFile
from pipelines.choices import RESIZED_SIZE
from pipelines.cli import reason_of
from pipelines.literal_path import literal_path
from serving import signatures as wire

# Of an export: where it came from and what it was trained on, as JSON.
CARD_FILE = Path("assets.extra") / "model_card.json"
_SAVED_MODEL = "saved_model.pb"
_KINDS = "a run directory, an export, a .keras file or a weight file"
# Columns of results.csv that a model card repeats.
_RESULT_FIELDS = ("dataset", "split", "crops", "images", "skipped", "top1_error", "top5_error", "loss")

Signature = Callable[..., dict[str, tf.Tensor]]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, and what is needed to use it as in training.

    Attributes:
      source: the path that it was loaded from.
      model: the Keras model, `[N, S, S, 3]` to `[N, classes]`; None for an export.
      from_logits: whether the outputs are logits rather than probabilities.
      preprocessing: what the model expects to be done to RGB 0..255; see `ten_crop.preprocess`.
      resize: how images are resized, one of `pipelines.choices.RESIZE_POLICIES`.
      resized_size: side of the resized images in pixels.
      class_names: one per class; empty if unknown.
      display_names: labels of predictions, one per class; empty if unknown.
      signatures: of an export, name -> function with the inputs of `serving.signatures` as keywords; else None.
      training: facts about the training, as JSON can hold them; for the model card.
      steps: number of training steps; 0 if unknown.
      network: name of the network (`networks.names()`); None if unknown.
      options: that the network was built with, as for `networks.create`.
    """

    source: str
    model: keras.Model | None = None
    from_logits: bool = False
    preprocessing: Preprocessing = "none"
    resize: str = "shorter_side"
    resized_size: int = RESIZED_SIZE
    class_names: tuple[str, ...] = ()
    display_names: tuple[str, ...] = ()
    signatures: Mapping[str, Signature] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    network: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def load_network(
    path: str | os.PathLike[str], *, network: str | None = None, classes: int | None = None, **options: Any
) -> LoadedNetwork:
    """Loads a network from whatever this project reads or writes.

    Keywords are required for what a file does not contain, and refused for what it contains:

    - A run directory (newest checkpoint), an export (its base directory: newest version; or one version), and a
      `.keras` file of an `AlexNet` contain everything. A `.keras` file of another network does not contain
      `preprocessing` and `from_logits`, and `image_size` if its images may have several sizes (as for `export_model`).
    - `.weights.h5` needs `network` and `classes`; of an AlexNet also `init`, which decides the scale of pixel values,
      and `width` and `mean` if they were not the defaults.
    - Weights of Caffe and PyTorch contain the number of classes; the network is detected if possible.

    Args:
      path: the file or directory.
      network: name of the network, as for `networks.create`.
      classes: number of classes, at least 1.
      **options: of the network, as for `networks.create`.

    Returns:
      A `LoadedNetwork`.

    Raises:
      ValueError: the file is missing, damaged or of another network, or a keyword is missing or refused.

    Example:

    ```python
    network = load_network("model.keras")
    network = load_network("mine.weights.h5", network="paper", classes=10, width=0.25, init="he")
    ```
    """
    path = Path(path)
    given = {"network": network, "classes": classes, **options}
    given = {name: value for name, value in given.items() if value is not None}
    if not path.exists():
        raise ValueError(f"{path}: no such file or directory; expected {_KINDS}")
    if path.is_dir():
        version = export_version(path)
        if version is None and not RunDirectory(path).exists():
            raise ValueError(f"{path}: found neither model.json nor {_SAVED_MODEL}; expected {_KINDS}")
        _refuse(given, path, "the directory")
        return _from_run(path) if version is None else _from_export(path, version)
    if recognise(path) == "keras":
        return _from_keras_file(path, given)
    return _from_weights(path, given)


def _refuse(given: Mapping[str, Any], path: Path, contains: str) -> None:
    for name, value in given.items():
        raise ValueError(f"{name}={value!r}: not accepted for {path}, because {contains} contains it")


def _from_run(path: Path) -> LoadedNetwork:
    model, config, steps = load_trained(path)
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=True,
        resize=config.resize,
        resized_size=config.size_before_crops,
        class_names=config.class_names,
        display_names=config.labels(),
        training=training_record(path, config, steps),
        steps=steps,
        network=config.network,
        options=config.options,
    )


def training_record(model_dir: Path, config: RunConfig, steps: int) -> dict[str, Any]:
    """How the network of a run directory was trained, on what, and its error rates, as JSON can hold it.

    `error_rates` are the rows of results.csv, as `keras_alexnet.evaluate` writes it, that belong to these `steps`:
    the newest of each dataset, split and crops. Empty if the network has not been evaluated.
    """
    fields = dataclasses.asdict(config)
    bad_images = fields.pop("bad_images")
    del fields["class_names"], fields["label_names"]
    statistics = RunDirectory(model_dir).statistics
    return fields | {
        "steps": steps,
        "bad_images_left_out": len(bad_images),
        "error_rates": _error_rates(model_dir / "results.csv", steps),
        "statistics": {
            "images": int(statistics.count),
            "rgb_mean": [float(value) for value in statistics.rgb_mean],
            "rgb_covariance": [[float(value) for value in row] for row in statistics.rgb_covariance],
        },
    }


def _error_rates(results: Path, steps: int) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    with open(results, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("steps") == str(steps)]
    for row in rows:
        row["crops"] = row.get("crops") or row.get("views")  # its name in version 0.1
    newest = {(row.get("dataset"), row.get("split"), row["crops"]): row for row in rows}
    return [{name: _number(row.get(name)) for name in _RESULT_FIELDS} for row in newest.values()]


def _number(text: str | None) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text


def export_version(path: Path) -> Path | None:
    """Returns `path` if it is a version of an export, the newest version of a base directory, or None."""
    if (path / _SAVED_MODEL).is_file():
        return path
    versions = [entry for entry in path.iterdir() if entry.name.isdecimal() and (entry / _SAVED_MODEL).is_file()]
    return max(versions, key=lambda entry: int(entry.name), default=None)


def _from_export(path: Path, version: Path) -> LoadedNetwork:
    try:
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


def _from_keras_file(path: Path, given: dict[str, Any]) -> LoadedNetwork:
    preprocessing, from_logits = given.pop("preprocessing", None), given.pop("from_logits", None)
    image_size = given.pop("image_size", None)
    _refuse(given, path, "the file")
    check_keras_file(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # A config of other software can raise anything.
    except Exception as error:
        raise ValueError(f"{path}: {reason_of(error)}; expected a Keras model") from error
    model = with_image_size(model, image_size)
    check_classifier(model)
    preprocessing, from_logits = resolve_inputs_and_outputs(model, preprocessing, from_logits)
    centring = alexnet_input(model)
    # The file contains neither; those of a network of the registry are known by its name.
    known = networks.find(model.name) if model.name in networks.names() and centring is None else None
    is_known = known is not None and known.image_size == model.input_shape[1]
    policy = known.resize_policy if known is not None else "shorter_side"
    names, labels = _imagenet_classes(model.output_shape[-1])
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=from_logits,
        preprocessing=preprocessing,
        resize=centring.resize if centring is not None else policy,
        resized_size=known.resize_size if known is not None and is_known else resized_size(model),
        training={"weights": str(path)},
        class_names=names,
        display_names=labels,
    )


def _from_weights(path: Path, given: dict[str, Any]) -> LoadedNetwork:
    file = read_weights(path)
    name, classes = given.pop("network", None), given.pop("classes", None)
    if file.kind in FAMILIES:
        _refuse({"classes": classes} if classes is not None else {}, path, "the file")
        name = name or _detected(file, given.get("width", 1.0))
        classes = _classes(file, name)
    elif name is None or classes is None:
        missing = "network" if name is None else "classes"
        raise ValueError(f"{missing} is missing: {path} contains weights only")
    registered = networks.find(name)
    if file.kind not in FAMILIES and "init" in registered.options and "init" not in given:
        raise ValueError(
            f"init is missing: {path} contains weights only, and the initialization of {name} decides the scale of "
            "pixel values; expected 'paper' or 'he'"
        )
    model = networks.create(name, classes, classifier_activation=None, **given)
    if name in VARIANTS:
        assign(model, file, find_variant(name))
    else:
        assign_by_name(model, file)
    names, labels = _imagenet_classes(classes)
    size = registered.resize_size if model.input_shape[1] == registered.image_size else resized_size(model)
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=True,
        resize=registered.resize_policy,
        resized_size=size,
        training={"weights": str(path)},
        network=name,
        options=given,
        class_names=names,
        display_names=labels,
    )


def _detected(file: WeightFile, width: float) -> str:
    agreeing = variants_of(file)
    names = [variant.name for variant in agreeing if same_filters(file, variant.scaled(width))]
    if file.kind == "torch" and len(names) > 1:
        raise ValueError(f"network is missing: {file.path} may be of {' or '.join(names)}")
    if not names:
        # `assign` refuses the weights of these, with the reason.
        names = ["torchvision" if file.kind == "torch" else agreeing[0].name if agreeing else "caffe"]
    return names[0]


def _classes(file: WeightFile, name: str) -> int:
    variant = find_variant(name)
    _, arrays = named_as_ours(file, variant).get(classifier(variant), ("", []))
    if not arrays or not arrays[-1].size:
        raise ValueError(f"{file.path}: found no classifier, fc8; expected the whole network")
    return arrays[-1].size


def _imagenet_classes(classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and display names of ImageNet for networks of 1000 classes; those of others are unknown."""
    wnids = imagenet_wnids()
    if classes != len(wnids):
        return (), ()
    return wnids, tuple(f"{wnid} {name}" for wnid, name in zip(wnids, imagenet_names(), strict=True))
