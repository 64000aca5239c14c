"""`AlexNet(...)` as a Keras model, and what goes with it: features, preprocessing, and names of predictions."""

import numbers
import operator
import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet import environment
from keras_alexnet.alexnet_arguments import POOLING, check_arguments, check_weights, mean_of, resolve_variant
from keras_alexnet.imagenet import imagenet_names, imagenet_wnids
from keras_alexnet.layers import MeanSubtraction, TowerActivation
from keras_alexnet.path_errors import errors_of_path
from keras_alexnet.variant_layers import apply_layer
from keras_alexnet.variants.architecture import Dense, Dropout, Layer, Variant
from keras_alexnet.weights import load_weights


def AlexNet(  # noqa: N802 (named as the models of keras.applications are)
    variant: str | Variant = "paper",
    weights: str | os.PathLike | None = None,
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    mean: Sequence | np.ndarray | None = None,
    name: str | None = None,
    *,
    width: float = 1.0,
    init: str | None = None,
    pooling: str | None = None,
) -> keras.Model:
    """The network of Krizhevsky, Sutskever and Hinton (NIPS 2012) as a functional Keras model.

    The input is RGB images `[N, S, S, 3]` with pixel values in 0..255, uint8 or float, where S is the variant's
    `crop_size` (224; 227 for Caffe's networks). The network subtracts its mean itself.

    Args:
      variant: a name in `keras_alexnet.VARIANTS`, or a `Variant` of your own.
      weights: None for random initialization, or the path of a weight file: Keras `.weights.h5` or `.keras` of the
        same variant, classes and width, Caffe `.caffemodel` or its `.npy` conversion, PyTorch `.pth`. The format is
        detected from the content; nothing in the file is executed.
      classes: int, at least 1. The number of classes.
      include_top: bool. Whether to include the fully connected layers.
      classifier_activation: str or None. The activation of the last layer; None returns the logits.
      mean: what is subtracted from the images: RGB means `[3]`, a mean image `[S, S, 3]`, or a larger square one, such
        as `[256, 256, 3]`, of which the central window is taken. By default the RGB means that pretrained weights of
        the variant expect, those of ILSVRC-2012.
      name: str, the model's name.
      width: float, greater than 0. Multiplies the number of filters and units.
      init: "paper" for the variant's own initialization (default), or "he" for He's, with the input scaled by 1/64.
      pooling: "avg" or "max", with `include_top=False` only: global pooling of the feature maps.

    Returns:
      A `keras.Model`. Its output is `[N, classes]` float32; with `include_top=False` the maps of the last pooling
      `[N, 6, 6, 256 * width]`, towers concatenated along the channels, or `[N, 256 * width]` with `pooling`.

    Raises:
      ValueError: if an argument has a wrong type or value, or if weights cannot be read or belong to another network;
        the message names the layer and both shapes, and no weight is changed.

    Example:

    ```python
    model = keras_alexnet.AlexNet(classes=10, init="he")
    features = keras_alexnet.AlexNet("caffe", weights="bvlc_alexnet.caffemodel", include_top=False, pooling="avg")
    ```

    References:
      - Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.
    """
    variant = resolve_variant(variant, hint=" (include_top and classes are keywords: AlexNet(include_top=False))")
    check_weights(weights)
    check_arguments(classes, include_top, classifier_activation, name, width, init, pooling)
    variant = (variant.with_he_initialization() if init == "he" else variant).scaled(width)

    images = keras.Input((variant.crop_size, variant.crop_size, 3), name="images")
    centring = MeanSubtraction(mean_of(mean, variant), variant.input_scale, variant.resize, name="mean_subtraction")
    towers = centring(images)
    for layer in _with_classes(variant, classes) if include_top else _convolutional_layers(variant):
        towers = apply_layer(layer, variant, towers)
    if include_top:
        outputs = keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(towers)
    else:
        outputs = keras.layers.Concatenate(name="features")(towers) if isinstance(towers, list) else towers
        if pooling:
            outputs = POOLING[pooling](name=f"{pooling}_pool")(outputs)
    model = keras.Model(images, outputs, name=name or f"alexnet_{variant.name}")
    if weights is not None:
        with errors_of_path("weights", weights):
            load_weights(model, weights, variant)
    return model


def _with_classes(variant: Variant, classes: int) -> tuple[Layer, ...]:
    *head, classifier = variant.head
    assert isinstance(classifier, Dense)
    return (*variant.layers, *head, Dense(**{**vars(classifier), "units": operator.index(classes)}))


def _convolutional_layers(variant: Variant) -> tuple[Layer, ...]:
    """The layers below the first fully connected one."""
    first_dense = next(index for index, layer in enumerate(variant.layers) if isinstance(layer, Dense))
    return tuple(layer for layer in variant.layers[:first_dense] if not isinstance(layer, Dropout))


def features_model(model: keras.Model, layer: str = "fc7") -> keras.Model:
    """The part of a network from its input to one of its layers, for use as feature extractor.

    Args:
      model: a functional Keras model, such as an `AlexNet`. The result shares its layers and weights.
      layer: name of a layer. The output is that of the activation that directly follows it, if there is one: with
        "fc7" the `[N, 4096 * width]` vector after ReLU and before dropout. The outputs of towers are concatenated
        along their last axis.

    Returns:
      A `keras.Model`.

    Raises:
      ValueError: if the model has no such layer; the message lists those that it has.

    Example:

    ```python
    features = keras_alexnet.features_model(model)
    vectors = features.predict(keras_alexnet.preprocess_input(images))
    ```
    """
    layers = {candidate.name: candidate for candidate in model.layers}
    if layer not in layers:
        raise ValueError(f"layer={layer!r}: expected one of {', '.join(layers)}")
    outputs = keras.tree.flatten(layers[layer].output)
    for candidate in model.layers:
        if isinstance(candidate, TowerActivation | keras.layers.Activation | keras.layers.ReLU):
            inputs = keras.tree.flatten(candidate.input)
            if len(inputs) == len(outputs) and all(a is b for a, b in zip(inputs, outputs, strict=True)):
                outputs = keras.tree.flatten(candidate.output)
                break
    output = keras.layers.Concatenate(name="features")(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model(model.inputs, output, name=f"{model.name}_{layer}")


def preprocess_input(images: Any, crop_size: int | None = None, *, variant: str | Variant = "paper") -> Any:
    """Prepares RGB images for a network: resized to 256 x 256 by the variant's rule, then the centre crop.

    For the paper's network the shorter side becomes 256 (section 2); for Caffe's networks both sides do. The network
    subtracts its mean itself.

    Args:
      images: RGB with pixel values in 0..255. A NumPy or PIL image `[H, W, 3]`, a NumPy batch `[N, H, W, 3]`, or a list
        of images of any sizes; or a TensorFlow tensor `[H, W, 3]` or `[N, H, W, 3]`, eager or in `Dataset.map`.
      crop_size: int, at most 256. The side of the crop; by default the variant's. Images that already are
        `crop_size` x `crop_size` are only cast.
      variant: name or `Variant` of the network that receives the images.

    Returns:
      float32 with values in 0..255: for NumPy, PIL and lists an array `[N, crop_size, crop_size, 3]`, where a single
      image becomes a batch of one; for a tensor a tensor of the same rank.

    Raises:
      ValueError: if an image is not `[H, W, 3]`, `crop_size` is not 1 to 256, or `variant` is unknown.

    Warns:
      UserWarning: if the pixel values of floating-point images are at most 1 (images in 0..1).

    Example:

    ```python
    probabilities = model.predict(keras_alexnet.preprocess_input(image))
    dataset = dataset.map(lambda image, label: (keras_alexnet.preprocess_input(image), label)).batch(32)
    ```
    """
    variant = resolve_variant(variant)
    crop_size = variant.crop_size if crop_size is None else crop_size
    if not isinstance(crop_size, int) or not 0 < crop_size <= 256:
        raise ValueError(f"crop_size={crop_size!r}: expected an integer from 1 to 256")
    if isinstance(images, tf.Tensor):
        return _preprocessed_tensor(images, crop_size, variant.resize)
    if not isinstance(images, list | tuple):
        images = np.asarray(images)
        images = images[None] if images.ndim == 3 else images
    batch = [_preprocessed_tensor(_image_tensor(image), crop_size, variant.resize).numpy() for image in images]
    return np.stack(batch) if batch else np.zeros((0, crop_size, crop_size, 3), np.float32)


def _image_tensor(image: Any) -> tf.Tensor:
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"images=array of shape {image.shape}: expected [H, W, 3]")
    return tf.convert_to_tensor(image)


def _preprocessed_tensor(images: tf.Tensor, crop_size: int, resize: str) -> tf.Tensor:
    if images.shape.rank not in (3, 4) or images.shape[-1] not in (3, None):
        raise ValueError(f"images=tensor of shape {images.shape}: expected [H, W, 3] or [N, H, W, 3]")
    if images.dtype.is_floating:
        tf.py_function(_warn_if_scaled, [tf.reduce_max(images)], [])
    if images.shape.rank == 3:
        return _preprocessed_image(images, crop_size, resize)
    if images.shape[1:3] == (crop_size, crop_size):
        return tf.cast(images, tf.float32)
    spec = tf.TensorSpec([crop_size, crop_size, 3], tf.float32)
    return tf.map_fn(lambda image: _preprocessed_image(image, crop_size, resize), images, fn_output_signature=spec)


def _preprocessed_image(image: tf.Tensor, crop_size: int, resize: str) -> tf.Tensor:
    environment.check_pipelines()
    from pipelines.images import crops

    def resized() -> tf.Tensor:
        pixels = tf.cast(tf.clip_by_value(tf.round(tf.cast(image, tf.float32)), 0, 255), tf.uint8)
        return tf.cast(crops.center_crop(crops.resize_image(pixels, resize)[None], crop_size)[0], tf.float32)

    is_network_input = tf.reduce_all(tf.shape(image)[:2] == crop_size)
    preprocessed = tf.cond(is_network_input, lambda: tf.cast(image, tf.float32), resized)
    return tf.ensure_shape(preprocessed, [crop_size, crop_size, 3])


def _warn_if_scaled(largest: tf.Tensor) -> None:
    if 0 < float(largest) <= 1:
        warnings.warn(
            "images: all pixel values are at most 1; expected values in 0..255. Multiply images in 0..1 by 255.",
            stacklevel=2,
        )


def decode_predictions(
    predictions: np.ndarray, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[Any, str, float]]]:
    """Returns the names and scores of the most probable classes of each image.

    Args:
      predictions: `[N, classes]` probabilities or logits.
      top: int, at least 1. How many classes per image; all of them if there are fewer.
      class_names: one name per class. By default, for 1000 classes, those of ImageNet (ILSVRC-2012) in the order of
        their sorted wnids, as in Caffe, torchvision, keras.applications and TFDS.

    Returns:
      For each image a list of tuples, best class first: `(wnid, name, score)` for ImageNet as in keras.applications,
      `(class index, name, score)` with `class_names`.

    Raises:
      ValueError: if predictions are not two-dimensional, `top` is not a positive integer, or there is not one name per
        class.

    Example:

    ```python
    for wnid, name, score in keras_alexnet.decode_predictions(model.predict(images))[0]:
        print(f"{score:.1%} {name}")
    ```
    """
    predictions = np.asarray(predictions)
    if predictions.ndim != 2:
        raise ValueError(f"predictions=array of shape {predictions.shape}: expected [N, classes]")
    if not isinstance(top, numbers.Integral) or top < 1:
        raise ValueError(f"top={top!r}: expected an integer, at least 1")
    classes = predictions.shape[1]
    keys: Sequence[Any] = range(classes)
    if class_names is None and classes == len(imagenet_wnids()):
        keys, class_names = imagenet_wnids(), imagenet_names()
    if class_names is None or len(class_names) != classes:
        found = "none" if class_names is None else len(class_names)
        raise ValueError(f"class_names: found {found}; expected {classes}, one per class")
    best = np.argsort(-predictions, axis=1, kind="stable")[:, :top]
    return [
        [(keys[index], class_names[index], float(row[index])) for index in order.tolist()]
        for row, order in zip(predictions, best, strict=True)
    ]
