"""`load_network(path)`: the network of a run directory, an export, a `.keras` file or a weight file."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.layers import MeanSubtraction
from keras_alexnet.model import AlexNet, imagenet_wnids
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.ten_crop import Preprocessing
from keras_alexnet.variants import VARIANTS, find_variant
from keras_alexnet.weights import KINDS, recognise
from keras_alexnet.weights.assign import assign, read_weights
from keras_alexnet.weights.compatibility import classifier, named_as_ours, same_filters, variants_of
from keras_alexnet.weights.formats import FAMILIES, WeightFile
from keras_alexnet.weights.keras_file import check_keras_file
from pipelines.choices import RESIZED_SIZE
from pipelines.cli import reason_of
from serving.signatures import CLASS_NAMES_ASSET, LABELS_ASSET


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, and what is needed to use it as in training.

    Attributes:
      source: kind of the path that it was loaded from.
      model: the Keras model; None for an export.
      from_logits: whether the model's outputs are logits rather than probabilities.
      preprocessing: what the model expects to be done to RGB 0..255 (`ten_crop.PREPROCESSING` or a function).
      resize: how images are resized (`pipelines.images.crops.RESIZE_POLICIES`).
      resized_size: side of the resized images in pixels.
      class_names: one per class; empty if unknown.
      display_names: what predictions are labelled with, one per class; empty if unknown.
      signatures: functions of an export by name; None for a model.
      training: facts about the training for the model card.
      steps: training steps, 0 if unknown.
      network: name of the network if known, with the `options` that it was built with.
    """

    source: str
    model: keras.Model | None = None
    from_logits: bool = False
    preprocessing: Preprocessing = "none"
    resize: str = "shorter_side"
    resized_size: int = RESIZED_SIZE
    class_names: tuple[str, ...] = ()
    display_names: tuple[str, ...] = ()
    signatures: Mapping[str, Any] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    network: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def load_network(
    path: str | os.PathLike[str], *, network: str | None = None, classes: int | None = None, **options: Any
) -> LoadedNetwork:
    """Loads a network from any kind of file or directory that contains one.

    Args:
      path: run directory, export (its base or one version), `.keras` file, or weight file of any kind in `KINDS`.
      network: of a weight file that does not name its network, see `networks.find`; refused for other paths.
      classes: of a weight file; its own number of classes by default.
      **options: of the network of a weight file, such as `width`.

    Raises:
      ValueError: there is no network at `path`, it is damaged, or an argument is missing or not its own.

    Example:

    ```python
    network = load_network("build/photos")
    network.model, network.class_names
    ```
    """
    path = Path(path)
    given = {"network": network, "classes": classes} | options
    if path.is_file() and recognise(path) != "keras":
        return _weight_file(path, network, classes, options)
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}={value}: {path} contains the whole network; expected no {name}")
    if path.is_file():
        return _keras_file(path)
    if RunConfig.exists(path):
        return _run(path)
    version = _version(path)
    if version is None:
        found = "a directory without a network" if path.is_dir() else "no such file or directory"
        raise ValueError(f"model={path}: found {found}; expected a run directory, an export or a model file")
    return _export(version)


def _weight_file(path: Path, network: str | None, classes: int | None, options: Mapping[str, Any]) -> LoadedNetwork:
    unknown = options.keys() - {"width"}
    if unknown:
        name = sorted(unknown)[0]
        raise ValueError(f"{name}={options[name]!r}: {path} has no such option; expected width")
    model, file, name = pretrained_network(path, network, options.get("width", 1.0), classifier_activation=None)
    if classes not in (None, model.output_shape[-1]):
        raise ValueError(f"classes={classes}: {path} has {model.output_shape[-1]} classes")
    names = imagenet_wnids() if model.output_shape[-1] == len(imagenet_wnids()) else ()
    return LoadedNetwork(
        KINDS[file.kind],
        model,
        from_logits=True,
        resize=find_variant(name).resize,
        class_names=names,
        display_names=names,
        training={"weights": str(path)},
        network=name,
        options=options,
    )


def _keras_file(path: Path) -> LoadedNetwork:
    check_keras_file(path)
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ValueError(f"{path}: cannot be loaded: {reason_of(error)}") from error
    own = [layer for layer in model.layers if isinstance(layer, MeanSubtraction)]
    activation = getattr(model.layers[-1], "activation", keras.activations.softmax)
    return LoadedNetwork(
        KINDS["keras"],
        model,
        from_logits=activation is not keras.activations.softmax,
        resize=own[0].resize if own else "shorter_side",
        training={"weights": str(path)},
    )


def _run(path: Path) -> LoadedNetwork:
    model, config, steps = load_trained(path)
    return LoadedNetwork(
        "run directory",
        model,
        from_logits=True,
        resize=config.resize,
        class_names=config.class_names,
        display_names=config.labels(),
        training=dataclasses.asdict(config),
        steps=steps,
        network=config.variant,
        options={"width": config.width, "init": config.init},
    )


def _version(path: Path) -> Path | None:
    """The directory of an export: `path` itself, or the highest version in it."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [entry for entry in path.glob("*/saved_model.pb") if entry.parent.name.isdecimal()]
    return max((entry.parent for entry in versions), key=lambda version: int(version.name), default=None)


def _export(version: Path) -> LoadedNetwork:
    try:
        loaded = tf.saved_model.load(str(version))
        names, labels = (
            tuple((version / "assets" / asset).read_text("utf-8").splitlines())
            for asset in (CLASS_NAMES_ASSET, LABELS_ASSET)
        )
        card = json.loads((version / "assets.extra" / "model_card.json").read_text("utf-8"))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{version}: not an export of this project: {reason_of(error)}") from error
    training = card["training"]
    # A signature does not keep the variables alive that it reads.
    signatures = {name: _bound(function, loaded) for name, function in loaded.signatures.items()}
    return LoadedNetwork(
        "export",
        resize=card["served"]["resize"],
        class_names=names,
        display_names=labels,
        signatures=signatures,
        training=training,
        steps=training.get("steps", 0),
        network=training.get("variant"),
    )


def _bound(function: Any, owner: Any) -> Any:
    function.owner = owner
    return function


def define_network_flags() -> None:
    """Flags that say which network a command works on."""
    flags.DEFINE_string("model_dir", None, "what keras_alexnet.train has written")
    flags.DEFINE_string("weights", None, "in its place: published weights; what the file is, is seen from its content")
    flags.DEFINE_enum("variant", None, list(VARIANTS), "of --weights; seen from them if not set")
    flags.DEFINE_float("width", 1.0, "of --weights: multiplies filters and units; 1 for published weights", 0.001)
    flags.DEFINE_string(
        "class_names", None, "of --weights: a text file with one name a line; ImageNet's wnids if not set"
    )


def open_network(options: flags.FlagValues) -> tuple[keras.Model, RunConfig, int]:
    """The network that the flags of `define_network_flags` name.

    Returns:
      The model (it gives logits), how to feed it and what its classes are called, and how many steps it was trained
      for here.

    Raises:
      ValueError: unless exactly one of --model_dir and --weights is given; if it cannot be read; or if the names are
        not one a class.
    """
    if (options.model_dir is None) == (options.weights is None):
        found = "neither" if options.model_dir is None else "both"
        raise ValueError(f"model_dir, --weights: found {found}; expected one of the two")
    if options.model_dir is not None:
        return load_trained(options.model_dir)
    model, _, name = pretrained_network(options.weights, options.variant, options.width, classifier_activation=None)
    description = RunConfig(
        variant=name,
        width=options.width,
        init="paper",
        class_names=_class_names(options.class_names, model.output_shape[-1]),
        dataset="",
        data_dir=None,
        resize=find_variant(name).resize,
        batch_size=0,
        seed=0,
    )
    return model, description, 0


def pretrained_network(
    weights: str | os.PathLike,
    variant: str | None = None,
    width: float = 1.0,
    classifier_activation: str | None = "softmax",
) -> tuple[keras.Model, WeightFile, str]:
    """The network of a file of weights, with as many classes as the file has.

    Args:
      weights: the file, of any kind in `keras_alexnet.weights.KINDS`.
      variant: the network's name in VARIANTS; by default the first that takes such a file.
      width: of the network.
      classifier_activation: as for `AlexNet`.

    Returns:
      The model, the file's content, and the variant's name.

    Raises:
      ValueError: if the weights cannot be read or are not the variant's.
    """
    file = read_weights(weights)
    variant = variant or _variant_of(file, width)
    model = AlexNet(variant, classes=_classes(file, variant), width=width, classifier_activation=classifier_activation)
    assign(model, file, find_variant(variant))
    return model, file, variant


def _variant_of(file: WeightFile, width: float) -> str:
    if file.kind not in FAMILIES:
        raise ValueError(f"variant is missing: {file.path} does not say of which network it is")
    agreeing = variants_of(file)
    names = [variant.name for variant in agreeing if same_filters(file, variant.scaled(width))]
    if file.kind == "torch" and len(names) > 1:
        raise ValueError(f"variant is missing: {file.path} may be of {' or '.join(names)}")
    if not names:
        # Its weights will be refused, with the reason.
        names = ["torchvision" if file.kind == "torch" else agreeing[0].name if agreeing else "caffe"]
    return names[0]


def _classes(file: WeightFile, variant: str) -> int:
    layers = named_as_ours(file, find_variant(variant))
    _, arrays = layers.get(classifier(find_variant(variant)), ("", []))
    if not arrays or not arrays[-1].size:
        raise ValueError(f"{file.path}: found no classifier, fc8; expected the whole network")
    return arrays[-1].size


def _class_names(path: str | None, classes: int) -> tuple[str, ...]:
    if path is None:
        if classes != len(imagenet_wnids()):
            raise ValueError(f"class_names is missing: the weights are of {classes} classes; expected a file of names")
        return imagenet_wnids()
    try:
        names = tuple(line.strip() for line in Path(path).read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"class_names={path}: {reason_of(error)}; expected a text file") from error
    if len(names) != classes:
        raise ValueError(f"class_names={path}: found {len(names)} names; expected {classes}, one a class")
    return names
