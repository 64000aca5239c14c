"""The networks of `.keras` files, of files of weights and of keras-hub's presets."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_alexnet import networks
from keras_alexnet.classifier import (
    check_classifier,
    resolve_inputs_and_outputs,
    with_image_size,
)
from keras_alexnet.imagenet import imagenet_names, imagenet_wnids
from keras_alexnet.pretrained.loaded_network import LoadedNetwork
from keras_alexnet.pretrained.resizing import resizing
from keras_alexnet.variants import VARIANTS, find_variant
from keras_alexnet.weights import check_keras_file, keras_version
from keras_alexnet.weights.assign import assign
from keras_alexnet.weights.assign_by_name import assign_by_name
from keras_alexnet.weights.compatibility import classifier, map_layer_names, same_filters, variants_of
from keras_alexnet.weights.formats import FAMILIES, WeightFile, open_archive
from keras_alexnet.weights.keras_hub_preset import preset_classes
from keras_alexnet.weights.read import read_weights
from pipelines.cli import reason_of


def refuse(given: Mapping[str, Any], path: Path, contains: str) -> None:
    """Raises ValueError if a keyword is given for what `path` contains itself."""
    for name, value in given.items():
        raise ValueError(f"{name}={value!r}: not accepted for {path}, because {contains} contains it")


def load_keras_file(path: Path, given: dict[str, Any]) -> LoadedNetwork:
    """The network of a `.keras` file; `given` are the keywords of `load_network`."""
    preprocessing, from_logits = given.pop("preprocessing", None), given.pop("from_logits", None)
    image_size = given.pop("image_size", None)
    refuse(given, path, "the file")
    check_keras_file(path)
    _register_keras_hub(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # A config of other software can raise anything.
    except Exception as error:
        writer = keras_version(path)
        versions = f" (written by Keras {writer}, read by {keras.__version__})" if writer != keras.__version__ else ""
        raise ValueError(f"{path}: {reason_of(error)}; expected a Keras model{versions}") from error
    model = with_image_size(model, image_size)
    check_classifier(model)
    preprocessing, from_logits = resolve_inputs_and_outputs(model, preprocessing, from_logits)
    policy, size = resizing(model)
    names, labels = _imagenet_classes(model.output_shape[-1])
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=from_logits,
        preprocessing=preprocessing,
        resize=policy,
        resized_size=size,
        training={"weights": str(path)},
        class_names=names,
        display_names=labels,
    )


def _register_keras_hub(path: Path) -> None:
    """Lets Keras find the layers of a file that has some of keras-hub, if it is installed."""
    with open_archive(path) as archive:
        needed = "config.json" in archive.namelist() and b'"keras_hub' in archive.read("config.json")
    if needed:
        with contextlib.suppress(ImportError):
            import keras_hub  # noqa: F401


def load_weights_file(path: Path, given: dict[str, Any]) -> LoadedNetwork:
    """A network with the weights of a file or a preset; `given` are the keywords of `load_network`."""
    file = read_weights(path)
    name, classes = given.pop("network", None), given.pop("classes", None)
    if file.kind in FAMILIES:
        refuse({"classes": classes} if classes is not None else {}, path, "the file")
        name = name or _detected(file, given.get("width", 1.0))
        classes = _classes(file, name)
    elif file.kind == "keras_hub":
        refuse({"classes": classes} if classes is not None else {}, path, "the preset")
        name = name or f"keras_hub.{path}"
        classes = preset_classes(path)
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
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=True,
        resize=registered.resize_policy,
        resized_size=registered.resized_size(model.input_shape[1]),
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
    _, arrays = map_layer_names(file, variant).get(classifier(variant), ("", []))
    if not arrays or not arrays[-1].size:
        raise ValueError(f"{file.path}: found no classifier, fc8; expected the whole network")
    return arrays[-1].size


def _imagenet_classes(classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and display names of ImageNet for networks of 1000 classes; those of others are unknown."""
    wnids = imagenet_wnids()
    if classes != len(wnids):
        return (), ()
    return wnids, tuple(f"{wnid} {name}" for wnid, name in zip(wnids, imagenet_names(), strict=True))
