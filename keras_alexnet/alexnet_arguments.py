"""Checks the arguments of `AlexNet`."""

import numbers
import operator
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_alexnet.variants import VARIANTS, Variant, find_variant

POOLING = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


def resolve_variant(variant: Any, hint: str = "") -> Variant:
    """The variant itself, or the one of this name. ValueError, which ends in `hint`, for another type."""
    if isinstance(variant, Variant):
        return variant
    if not isinstance(variant, str):
        raise ValueError(f"variant={variant!r}: expected one of {', '.join(VARIANTS)}, or a Variant{hint}")
    return find_variant(variant)


def check_weights(weights: Any) -> None:
    """Raises ValueError unless `weights` is a path or None; for "imagenet" it says which files there are."""
    if weights == "imagenet":
        raise ValueError(
            "weights='imagenet': nothing is downloaded; expected the path of a file. ImageNet weights that load: "
            "bvlc_alexnet.caffemodel (variant='caffe') and bvlc_reference_caffenet.caffemodel (variant='caffenet') "
            "from Caffe's model zoo, and alexnet-owt-7be5be79.pth (variant='torchvision') from torchvision. Example: "
            "AlexNet('caffe', weights='bvlc_alexnet.caffemodel')"
        )
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise ValueError(f"weights={weights!r}: expected the path of a weight file, or None")


def check_classifier_arguments(classes: Any, classifier_activation: Any) -> None:
    """Raises ValueError for an argument of a classifier of a wrong type or value."""
    check_positive_integer("classes", classes)
    is_activation = classifier_activation is None or isinstance(classifier_activation, str)
    try:
        is_activation = is_activation and callable(keras.activations.get(classifier_activation))
    except ValueError:
        is_activation = False
    if not is_activation:
        expected = "the name of a Keras activation, or None"
        raise ValueError(f"classifier_activation={classifier_activation!r}: expected {expected}")


def check_positive_integer(argument: str, value: Any) -> None:
    """Raises ValueError unless `value` is an integer from 1."""
    is_index = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_index or operator.index(value) < 1:
        raise ValueError(f"{argument}={value!r}: expected an integer, at least 1")


def check_arguments(
    classes: Any, include_top: Any, classifier_activation: Any, name: Any, width: Any, init: Any, pooling: Any
) -> None:
    """Raises ValueError for an argument of `AlexNet` of a wrong type or value."""

    def check(is_valid: bool, argument: str, value: Any, expected: str) -> None:
        if not is_valid:
            raise ValueError(f"{argument}={value!r}: expected {expected}")

    check_classifier_arguments(classes, classifier_activation)
    check(isinstance(include_top, bool | np.bool_), "include_top", include_top, "True or False")
    check(name is None or isinstance(name, str), "name", name, "a string or None")
    is_number = isinstance(width, numbers.Real) and not isinstance(width, bool)
    check(is_number, "width", width, "a positive number")
    check(init in (None, "paper", "he"), "init", init, "'paper' or 'he'")
    check(pooling in (None, *POOLING), "pooling", pooling, "'avg', 'max' or None")
    check(pooling is None or not include_top, "pooling", pooling, "None, unless include_top=False")


def mean_of(mean: Sequence | np.ndarray | None, variant: Variant) -> np.ndarray:
    """What the network subtracts, float32 `[3]` or `[S, S, 3]`: `mean`, or its centre if it is a larger image.

    Raises:
      ValueError: it has another shape.
    """
    values: np.ndarray
    try:
        values = np.asarray(variant.rgb_mean if mean is None else mean, np.float32)
    except (TypeError, ValueError):
        values = np.zeros(0, np.float32)
    size = variant.crop_size
    is_image = values.ndim == 3 and values.shape[0] == values.shape[1] >= size and values.shape[2] == 3
    if values.shape != (3,) and not is_image:
        given = repr(mean) if isinstance(mean, str) else f"array of shape {values.shape}"
        raise ValueError(f"mean={given}: expected (3,), ({size}, {size}, 3) or a larger square such as (256, 256, 3)")
    if is_image:
        first = (values.shape[0] - size) // 2
        values = values[first : first + size, first : first + size]
    return values
