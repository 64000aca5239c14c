"""`AlexNet(...)`: a Keras model built from a Variant and nothing else."""

import dataclasses
import functools
from collections.abc import Sequence

import keras
import numpy as np

from keras_alexnet.layers import (
    LocalResponseNormalization,
    MeanSubtraction,
    OverlappingMaxPool,
    TowerActivation,
    TowerConv2D,
    TowerDense,
    TowerDropout,
)
from keras_alexnet.variants import IMAGENET_RGB_MEAN, Convolution, Dense, Variant, find_variant


def AlexNet(  # noqa: N802 (named as the models of keras.applications are)
    variant: str | Variant = "paper",
    weights: str | None = None,
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    mean: Sequence | np.ndarray | None = None,
    name: str | None = None,
    *,
    width: float = 1.0,
    init: str | None = None,
) -> keras.Model:
    """The network of Krizhevsky, Sutskever and Hinton (NIPS 2012) as a functional Keras model.

    Takes RGB images `[N, S, S, 3]`, grey levels 0..255, uint8 or float, with S the variant's `crop_size` (224).
    Gives `[N, classes]` float32: probabilities, or whatever `classifier_activation` makes of the logits (None: the
    logits); with `include_top=False` the `[N, 4096 * width]` outputs of fc7 after ReLU, before dropout.

    Args:
      variant: a name in VARIANTS or a Variant of your own.
      weights: a `.weights.h5` file written by `model.save_weights` for the same variant, classes and width.
      classes: number of classes, at least 1.
      include_top: whether the classifier fc8 is part of the model.
      classifier_activation: of fc8's outputs; a name that Keras knows, or None.
      mean: what is subtracted from the images: RGB means `[3]`, a mean image `[S, S, 3]`, or a larger one such as
        `Statistics.mean_image` `[256, 256, 3]`, whose central window is taken. By default the RGB means of ILSVRC-2012.
      name: of the model.
      width: multiplies the number of filters and units, for small machines.
      init: "paper" for the variant's own initial values (the default), "he" for He's, with input scaled by 1/64.

    Raises:
      ValueError: for an unknown variant or `init`, a width or number of classes that is not positive, a mean of
        another shape, or weights of another network.
    """
    variant = find_variant(variant) if isinstance(variant, str) else variant
    if classes < 1:
        raise ValueError(f"classes={classes}; expected at least 1")
    if init not in (None, "paper", "he"):
        raise ValueError(f"init={init!r}; expected 'paper' or 'he'")
    variant = (variant.he_initialised() if init == "he" else variant).scaled(width)

    images = keras.Input((variant.crop_size, variant.crop_size, 3), name="images")
    centred = MeanSubtraction(_mean(mean, variant), variant.input_scale, name="mean_subtraction")(images)
    towers = _top(variant, _trunk(variant, [centred]))
    if include_top:
        towers = TowerDropout(variant.dropout_rate, variant.dropout_rescale, name="dropout7")(towers)
        # One tower: fc8 lives with the softmax on the first GPU (facts of 2012: the last layer reads both, on GPU 0).
        fc8 = dataclasses.replace(variant.classifier, units=classes)
        logits = _dense(fc8, variant, name="fc8", towers=1)(towers)[0]
        outputs = keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(logits)
    else:
        outputs = keras.layers.Concatenate(name="features")(towers) if variant.towers > 1 else towers[0]
    model = keras.Model(images, outputs, name=name or f"alexnet_{variant.name}")
    if weights is not None:
        model.load_weights(weights)
    return model


def _trunk(variant: Variant, towers: list) -> list:
    """conv1 to the last convolution, each with the steps that the variant puts behind it."""
    for number, convolution in enumerate(variant.convolutions, start=1):
        towers = _convolution(convolution, variant, name=f"conv{number}")(towers)
        for step in convolution.then:
            towers = _step(step, variant, number)(towers)
    return towers


def _top(variant: Variant, towers: list) -> list:
    """fc6 and fc7: each with its ReLU, and dropout between the two."""
    for number, dense in enumerate(variant.dense, start=6):
        if number > 6:
            towers = TowerDropout(variant.dropout_rate, variant.dropout_rescale, name=f"dropout{number - 1}")(towers)
        towers = _dense(dense, variant, name=f"fc{number}", towers=variant.towers)(towers)
        towers = TowerActivation("relu", name=f"relu{number}")(towers)
    return towers


def _convolution(convolution: Convolution, variant: Variant, name: str) -> TowerConv2D:
    return TowerConv2D(
        convolution.filters,
        convolution.kernel_size,
        convolution.strides,
        convolution.padding,
        towers=variant.towers,
        reads=convolution.reads,
        **_initial_values(convolution, variant),
        name=name,
    )


def _dense(dense: Dense, variant: Variant, name: str, towers: int) -> TowerDense:
    return TowerDense(dense.units, towers=towers, reads="all", **_initial_values(dense, variant), name=name)


def _initial_values(layer: Convolution | Dense, variant: Variant) -> dict[str, keras.initializers.Initializer]:
    if variant.init == "he":
        kernel = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        return {"kernel_initializer": kernel, "bias_initializer": "zeros"}
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=layer.stddev),
        "bias_initializer": keras.initializers.Constant(layer.bias),
    }


def _step(step: str, variant: Variant, number: int) -> keras.layers.Layer:
    if step == "lrn":
        constants = variant.normalization
        return LocalResponseNormalization(
            constants.n // 2, constants.k, constants.alpha, constants.beta, name=f"lrn{number}"
        )
    if step == "pool":
        return OverlappingMaxPool(variant.pool_size, variant.pool_strides, name=f"pool{number}")
    return TowerActivation(step, name=f"{step}{number}")


def _mean(mean: Sequence | np.ndarray | None, variant: Variant) -> np.ndarray:
    mean = np.asarray(IMAGENET_RGB_MEAN if mean is None else mean, np.float32)
    size = variant.crop_size
    is_image = mean.ndim == 3 and mean.shape[0] == mean.shape[1] >= size and mean.shape[2] == 3
    if mean.shape != (3,) and not is_image:
        raise ValueError(
            f"mean has shape {mean.shape}; expected (3,), ({size}, {size}, 3) or a larger square such as (256, 256, 3)"
        )
    if is_image:
        first = (mean.shape[0] - size) // 2
        mean = mean[first : first + size, first : first + size]
    return mean


def preprocess_input(images: np.ndarray | Sequence[np.ndarray], crop_size: int = 224) -> np.ndarray:
    """Makes network input of RGB images: shorter side to 256, then the centre crop (paper, section 2).

    Args:
      images: one image `[H, W, 3]`, a batch `[N, H, W, 3]`, or a sequence of images of any sizes; grey levels 0..255.
      crop_size: side of the crop, at most 256. Images that already are `crop_size` square are left as they are.

    Returns:
      float32 `[N, crop_size, crop_size, 3]`, grey levels 0..255. The network subtracts its mean itself.

    Raises:
      ValueError: if an image is not `[H, W, 3]`.
    """
    from pipelines import crops

    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = [images]
    batch = []
    for image in images:
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"an image has shape {image.shape}; expected [height, width, 3]")
        if image.shape[:2] != (crop_size, crop_size):
            stored = crops.stored_view(np.clip(np.round(image), 0, 255).astype(np.uint8))
            image = np.asarray(crops.center_crop(stored[None], crop_size)[0])
        batch.append(image.astype(np.float32))
    return np.stack(batch) if batch else np.zeros((0, crop_size, crop_size, 3), np.float32)


def decode_predictions(
    predictions: np.ndarray, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[int, str, float]]]:
    """Names the best classes, best first.

    Args:
      predictions: `[N, classes]` probabilities (or logits).
      top: how many classes an image; all of them if there are fewer.
      class_names: one name a class. By default, for 1000 classes, ImageNet's wnids in sorted order.

    Returns:
      For each image a list of `(class index, class name, score)`.

    Raises:
      ValueError: if predictions are not two-dimensional, or names are missing or not one a class.
    """
    predictions = np.asarray(predictions)
    if predictions.ndim != 2:
        raise ValueError(f"predictions have shape {predictions.shape}; expected [N, classes]")
    if class_names is None and predictions.shape[1] == 1000:
        class_names = _imagenet_wnids()
    if class_names is None or len(class_names) != predictions.shape[1]:
        found = "none" if class_names is None else len(class_names)
        raise ValueError(f"class_names: found {found}; expected {predictions.shape[1]}, one a class")
    best = np.argsort(-predictions, axis=1, kind="stable")[:, :top]
    return [
        [(int(k), class_names[k], float(row[k])) for k in order] for row, order in zip(predictions, best, strict=True)
    ]


@functools.cache
def _imagenet_wnids() -> tuple[str, ...]:
    import tensorflow_datasets as tfds

    return tuple(tfds.builder("imagenet2012").info.features["label"].names)
