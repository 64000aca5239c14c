"""Any classifier of keras-hub: `keras_hub.<class>`, `keras_hub.<preset>` or `keras_hub.<directory of a preset>`.

Nothing is downloaded. A class takes the arguments of its backbone as options. A preset is read from the cache of
kagglehub, where keras-hub has stored it before, or from a directory. Its weights are random here: `load_network` and
`--init_from` read them from that directory, or from a file of keras-hub's `save_weights`. Images are normalized as the
preset says, or else by the mean and the standard deviation of ImageNet's images. keras-hub is the optional extra `hub`.
"""

import functools
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.network import Network
from keras_alexnet.variants.architecture import CROP_FRACTION

PREFIX = "keras_hub."
_IMAGE_SIZE = 224
# The argument of a backbone for the shape of its images.
_SHAPE = ("image_shape", "input_shape")
_OWN_ARGUMENTS = {"self", *_SHAPE, "data_format", "dtype", "name", "kwargs"}
# Of a classifier's config, what this package decides.
_OWN_OF_CLASSIFIER = {"backbone", "preprocessor", "num_classes", "activation", "dtype", "name", "trainable"}


def network(name: str) -> Network:
    """The network called `name`, which begins with `PREFIX`.

    Raises:
      ValueError: keras-hub is not installed, or has no such class; there is no such preset on this machine.
    """
    hub = _keras_hub(name)
    what = name.removeprefix(PREFIX)
    classifiers: dict[str, Any] = {
        kind.__name__: kind for kind in vars(hub).values() if inspect.isclass(kind) and _is_classifier(kind, hub)
    }
    options: tuple[str, ...] = ()
    if what in classifiers:
        task: Any = classifiers[what]
        size, preprocessing = _IMAGE_SIZE, inputs.IMAGENET
        options = tuple(inspect.signature(task.backbone_cls).parameters.keys() - _OWN_ARGUMENTS)
        backbone: Any = functools.partial(_backbone, task.backbone_cls)
    else:
        folder = _preset_folder(name, what, hub)
        if folder is None:
            raise ValueError(
                f"network={name}: expected {PREFIX}<class>, one of {', '.join(sorted(classifiers))}, or "
                f"{PREFIX}<preset> with a preset in kagglehub's cache or its directory; nothing is downloaded"
            )
        saved = _json(name, folder / "config.json")
        kind = _task_of(name, saved, classifiers.values())
        task = functools.partial(kind, **_classifier_options(name, folder))
        size, preprocessing = _image_size_and_preprocessing(folder, saved["config"])
        backbone = functools.partial(_backbone, kind.backbone_cls, **_without_shape(saved["config"]))
    return Network(
        name=name,
        build=functools.partial(_build, name, task, backbone, preprocessing),
        image_size=size,
        resize_size=round(size / CROP_FRACTION),
        resize_policy="shorter_side",
        weight_decay=1e-4,
        features_layer=None,
        options=tuple(sorted(options)),
    )


def _keras_hub(name: str) -> Any:
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(f"network={name}: needs keras-hub: pip install 'keras-alexnet[hub]'") from error
    return keras_hub.models


def _is_classifier(kind: Any, hub: Any) -> bool:
    return issubclass(kind, hub.ImageClassifier) and kind.backbone_cls is not None


def _preset_folder(name: str, what: str, hub: Any) -> Path | None:
    """The directory of a preset; None if it is not on this machine."""
    folder = Path(what).expanduser()
    handle = hub.ImageClassifier.presets.get(what, {}).get("kaggle_handle", "")
    if handle:
        # Of kagglehub's documentation: where its files are, unless this variable names another directory.
        cache = Path(os.environ.get("KAGGLEHUB_CACHE", "~/.cache/kagglehub")).expanduser()
        folder = cache / "models" / handle.removeprefix("kaggle://")
    return folder if (folder / "config.json").is_file() else None


def _json(name: str, path: Path) -> dict[str, Any]:
    from pipelines.cli.regular_files import read_text

    try:
        saved: dict[str, Any] = json.loads(read_text(path))
        return saved | {"config": dict(saved["config"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"network={name}: {path}: {error}; expected a preset of keras-hub") from error


def _task_of(name: str, saved: dict[str, Any], classifiers: Any) -> Any:
    """The class of classifiers whose backbone a preset has."""
    backbone = str(saved.get("registered_name", "")).rpartition(">")[2]
    for task in classifiers:
        if task.backbone_cls.__name__ == backbone:
            return task
    raise ValueError(f"network={name}: keras-hub has no classifier with the backbone {backbone or 'of this preset'}")


def _classifier_options(name: str, folder: Path) -> dict[str, Any]:
    """The arguments of a preset's classifier, such as its pooling."""
    path = folder / "task.json"
    config = _json(name, path)["config"] if path.is_file() else {}
    return {key: value for key, value in config.items() if key not in _OWN_OF_CLASSIFIER}


def _without_shape(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in (*_SHAPE, "dtype", "name", "trainable")}


def _image_size_and_preprocessing(folder: Path, backbone: dict[str, Any]) -> tuple[int, inputs.Preprocessing]:
    """What the preset's image converter does: `image * scale + offset`. The size is the backbone's if it has none."""
    path = folder / "image_converter.json"
    config = _json(str(folder), path)["config"] if path.is_file() else {}
    shape = next((backbone[key] for key in _SHAPE if key in backbone), None) or [None]
    size = config.get("image_size") or [shape[0] or _IMAGE_SIZE]
    scale, offset = config.get("scale"), config.get("offset")
    if scale is None:
        return size[0], inputs.IMAGENET
    scales = tuple(scale) if isinstance(scale, list) else (scale,) * 3
    offsets = tuple(offset) if isinstance(offset, list) else (offset or 0.0,) * 3
    red, green, blue = (-b / a for a, b in zip(scales, offsets, strict=True))
    return size[0], inputs.Preprocessing((red, green, blue), scales)


def _backbone(kind: Any, image_size: int, **options: Any) -> Any:
    shape = next(name for name in _SHAPE if name in inspect.signature(kind).parameters)
    return kind(**{shape: (image_size, image_size, 3)}, **options)


def _build(
    name: str,
    task: Any,
    backbone: Any,
    preprocessing: inputs.Preprocessing,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    **options: Any,
) -> Any:
    import keras

    images, maps = inputs.image_input(name, image_size, 1, preprocessing)
    try:
        model = task(backbone=backbone(image_size=image_size, **options), num_classes=classes, preprocessor=None)
        features, last = _features_and_classifier(model)
        vectors = features(maps)
    # A backbone can raise anything.
    except Exception as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items()) or "no options"
        raise ValueError(f"network={name}: cannot be built with {given} at {image_size} pixels: {error}") from error
    # As keras-hub calls it: its weight files fit.
    logits = blocks.classifier(vectors, classes, "glorot", name=last)
    outputs = blocks.output(logits, classifier_activation, "output")
    # A name for TensorFlow's scopes, which begin with a letter or a digit, of a directory that may be called anything.
    own = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(name.removeprefix(PREFIX)).name).lstrip("_.-")
    return keras.Model(images, outputs, name=own or "keras_hub")


def _features_and_classifier(model: Any) -> tuple[Any, str]:
    """A classifier up to the input of its last fully connected layer, and the name of that layer."""
    import keras

    last = model.layers[-1]
    if not isinstance(last, keras.Sequential):
        return keras.Model(model.inputs, last.input, name="features"), last.name
    # As in VGG.
    tensors = model.backbone(model.inputs[0])
    for layer in last.layers[:-1]:
        tensors = layer(tensors)
    return keras.Model(model.inputs, tensors, name="features"), last.layers[-1].name
