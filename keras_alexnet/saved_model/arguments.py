"""The arguments that the exporters share, checked and completed."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_alexnet.classifier import (
    alexnet_input,
    check_classifier,
    resolve_inputs_and_outputs,
    with_image_size,
)
from keras_alexnet.pretrained import LoadedNetwork
from keras_alexnet.pretrained.resizing import resizing
from keras_alexnet.saved_model.versions import check_names
from keras_alexnet.ten_crop import Preprocessing
from pipelines.images.crops import check_resize


def resolve_network(
    model: keras.Model,
    class_names: Sequence[str],
    *,
    preprocessing: Preprocessing | None,
    from_logits: bool | None,
    image_size: int | None,
    resize: str | None,
    resize_size: int | None,
    labels: Sequence[str] | None,
    training: Mapping[str, Any] | None = None,
) -> LoadedNetwork:
    """`model` with what its export needs, as given or inferred from it. See `export_model` for the arguments.

    Raises:
      ValueError: an argument is missing or wrong, or contradicts the model.
    """
    if isinstance(model, keras.Model):
        model = with_image_size(model, image_size)
    check_classifier(model)
    labels = class_names if labels is None else labels
    check_names(model, "class_names", class_names)
    check_names(model, "labels", labels)
    preprocessing, from_logits = resolve_inputs_and_outputs(model, preprocessing, from_logits)
    size = resizing(model)[1] if resize_size is None else resize_size
    if size < model.input_shape[1]:
        raise ValueError(f"resize_size={size}: expected at least the {model.input_shape[1]} pixels of {model.name}")
    return LoadedNetwork(
        source=model.name,
        model=model,
        from_logits=from_logits,
        preprocessing=preprocessing,
        resize=resolve_resize(model, resize),
        resized_size=size,
        class_names=tuple(class_names),
        display_names=tuple(labels),
        training=training or {},
    )


def resolve_resize(model: keras.Model, resize: str | None) -> str:
    """How images are resized for `model`: as given, by default as `resizing` says. An `AlexNet` contains it.

    Raises:
      ValueError: `resize` is unknown, or not that of an `AlexNet`.
    """
    own = resizing(model)[0]
    if resize is None:
        return own
    if alexnet_input(model) is not None and resize != own:
        raise ValueError(f"resize={resize}: {model.name} contains its own, {own}")
    check_resize(resize)
    return resize
