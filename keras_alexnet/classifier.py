"""Properties of a Keras classifier that follow from its layers: geometry, preprocessing, and kind of output."""

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_alexnet.layers import MeanSubtraction, TowerDropout
from keras_alexnet.ten_crop import PREPROCESSING, Preprocessing, check_preprocessing
from keras_alexnet.variants import VARIANTS
from keras_alexnet.variants.architecture import CROP_FRACTION
from pipelines.choices import RESIZED_SIZE


def alexnet_input(model: keras.Model) -> MeanSubtraction | None:
    """The preprocessing layer of a model that is an `AlexNet` with its classifier; None for other models."""
    layers = {layer.name: layer for layer in model.layers}
    layer = layers.get("mean_subtraction")
    is_alexnet = isinstance(layer, MeanSubtraction) and {"fc8", "predictions"} <= layers.keys()
    return layer if is_alexnet else None


def subtracted_mean(model: keras.Model, rgb_mean: ArrayLike) -> np.ndarray:
    """The mean that `model` subtracts from its images, `[S, S, 3]` or `[3]`, pixel values 0..255.

    Args:
      model: a classifier of RGB images 0..255.
      rgb_mean: `[3]`, of the training images: the result for a model without `MeanSubtraction` or with a mean of zero.
    """
    means = [layer.mean for layer in model.layers if isinstance(layer, MeanSubtraction) and layer.mean.any()]
    return means[0] if means else np.asarray(rgb_mean, np.float32)


def parameters(model: keras.Model) -> int:
    """How many numbers training changes: without the moving statistics of batch normalization and frozen layers."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def resized_size(model: keras.Model) -> int:
    """Side of the resized images that crops for `model` are taken from.

    What an `AlexNet` was trained with if it knows, or else 256 for the published sizes of its crops; of other models
    the side of which a crop covers 7/8.
    """
    centring, crop_size = alexnet_input(model), model.input_shape[1]
    if centring is not None and centring.resized_size is not None:
        return centring.resized_size
    is_published = centring is not None and crop_size in {variant.crop_size for variant in VARIANTS.values()}
    return RESIZED_SIZE if is_published else round(crop_size / CROP_FRACTION)


def with_image_size(model: keras.Model, image_size: int | None) -> keras.Model:
    """`model` for images of one size.

    Args:
      model: a classifier; the size of its images may be open, as in keras-hub and in subclassed models.
      image_size: the size in pixels; None where the model fixes it.

    Raises:
      ValueError: the model has images of another size, or does not accept this size.
    """
    shape = getattr(model, "input_shape", None)
    fixed = shape[1] if isinstance(shape, tuple) and len(shape) == 4 else None
    if image_size in (None, fixed):
        return model
    if fixed is not None:
        raise ValueError(f"image_size={image_size}: {model.name} has images of {fixed} pixels")
    images = keras.Input((image_size, image_size, 3), name="images")
    try:
        return keras.Model(images, model(images), name=model.name)
    # A model of the user's own can raise anything.
    except Exception as error:
        raise ValueError(f"image_size={image_size}: {model.name} does not accept it: {error}") from error


def check_classifier(model: Any) -> None:
    """Raises ValueError unless `model` maps `[N, S, S, 3]` to `[N, classes]` with a fixed S."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"model: received a {type(model).__name__}; expected a keras.Model")
    inputs: Any
    outputs: Any
    inputs, outputs = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if inputs is None or inputs == (None, None, None, 3):
        raise ValueError(f"image_size is missing: {model.name} accepts images of several sizes")
    is_image = isinstance(inputs, tuple) and len(inputs) == 4 and inputs[1] is not None
    if not is_image or inputs[1:] != (inputs[1], inputs[1], 3):
        raise ValueError(f"model: {model.name} has the input shape {inputs}; expected (None, S, S, 3)")
    if not isinstance(outputs, tuple) or len(outputs) != 2 or outputs[1] is None:
        raise ValueError(
            f"model: {model.name} has the output shape {outputs}; expected (None, classes), "
            "the network with its classifier (include_top=True)"
        )


def resolve_inputs_and_outputs(
    model: keras.Model, preprocessing: Preprocessing | None, from_logits: bool | None
) -> tuple[Preprocessing, bool]:
    """The preprocessing of a model, and whether its outputs are logits.

    Both are inferred for an `AlexNet`, and where nothing else is given for the other networks of
    `keras_alexnet.networks`; else they are as given.

    Raises:
      ValueError: an argument is missing, unknown, or contradicts what the model contains.
    """
    if preprocessing is not None:
        check_preprocessing(preprocessing)
    if alexnet_input(model) is not None:
        inferred = model.get_layer("predictions").activation is keras.activations.linear
        if preprocessing not in (None, "none"):
            raise ValueError(f"preprocessing={preprocessing!r}: {model.name} contains its own; expected 'none' or None")
        if from_logits not in (None, inferred):
            raise ValueError(f"from_logits={from_logits}: expected {inferred}, by the last layer of {model.name}")
        return "none", inferred
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    if any(isinstance(layer, MeanSubtraction) for layer in model.layers):
        preprocessing = preprocessing or "none"
        if from_logits is None and last.name == "predictions":
            from_logits = {keras.activations.softmax: False, keras.activations.linear: True}.get(activation)
    if preprocessing is None:
        raise ValueError(
            f"preprocessing is missing: {model.name} does not contain it; expected "
            f"{', '.join(map(repr, PREPROCESSING))} (modes of keras.applications) or a function of RGB 0..255"
        )
    if from_logits is None:
        raise ValueError(
            f"from_logits is missing: expected False if {model.name} returns probabilities (softmax), True for logits"
        )
    if from_logits and activation is keras.activations.softmax:
        raise ValueError(f"from_logits=True: the last layer of {model.name} is a softmax; expected False")
    return preprocessing, from_logits


def classifier_features(model: keras.Model) -> keras.Model:
    """The model from the input of an `AlexNet` to the input of its classifier, before dropout: a tensor per tower."""
    last = [layer for layer in model.layers if layer.weights][-1]
    tensors = keras.tree.flatten(last.input)
    for layer in model.layers:
        # The paper's dropout halves its input in inference.
        if isinstance(layer, keras.layers.Dropout | TowerDropout):
            outputs = keras.tree.flatten(layer.output)
            if len(outputs) == len(tensors) and all(a is b for a, b in zip(outputs, tensors, strict=True)):
                tensors = keras.tree.flatten(layer.input)
                break
    return keras.Model(model.inputs, tensors)
