"""The input of the networks: the preprocessing of their authors, as constants and as a layer."""

from dataclasses import dataclass
from typing import Any

from keras_alexnet.variants.architecture import IMAGENET_RGB_MEAN


@dataclass(frozen=True)
class Preprocessing:
    """`(image - mean) * scale` of RGB pixel values 0..255; one scale for all channels or one for each."""

    mean: tuple[float, float, float]
    scale: float | tuple[float, float, float] = 1.0


# The mean and the standard deviation of CIFAR-10's training images: fb.resnet.torch, datasets/cifar10.lua.
CIFAR = Preprocessing((125.3, 123.0, 113.9), (1 / 63.0, 1 / 62.1, 1 / 66.7))
# As takedarts/resnetfamily.
ZERO_TO_ONE = Preprocessing((0.0, 0.0, 0.0), 1 / 255)
# cuda-convnet subtracts the mean only.
CIFAR_MEAN = Preprocessing(CIFAR.mean)
IMAGENET_MEAN = Preprocessing(IMAGENET_RGB_MEAN)
# The mean and the standard deviation of ImageNet's training images: fb.resnet.torch, datasets/imagenet.lua.
IMAGENET = Preprocessing((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375))
# BVLC's prototxt files: 104, 117, 123 in the order blue, green, red.
CAFFE = Preprocessing((123.0, 117.0, 104.0))
# TensorFlow-Slim, inception_preprocessing.py: -1..1.
MINUS_ONE_TO_ONE = Preprocessing((127.5, 127.5, 127.5), 1 / 127.5)

# With He initialization the input has about unit variance, as AlexNet's with init="he".
_HE_INPUT_SCALE = 1 / 64


def image_input(name: str, image_size: int, least: int, preprocessing: Preprocessing, init: str = "paper") -> Any:
    """The input and the preprocessed images.

    Args:
      name: the network's, for messages.
      image_size: side in pixels.
      least: the smallest side that the network accepts.
      preprocessing: the published one.
      init: "paper", or "he", which scales mean-subtracted images to about unit variance.

    Raises:
      ValueError: for a smaller image, or an unknown `init`.
    """
    import keras

    from keras_alexnet.layers import MeanSubtraction

    if image_size < least:
        raise ValueError(f"image_size={image_size}: too small for {name}; expected at least {least}")
    if init not in ("paper", "he"):
        raise ValueError(f"init={init!r}: expected 'paper' or 'he'")
    scale = _HE_INPUT_SCALE if init == "he" and preprocessing.scale == 1 else preprocessing.scale
    images = keras.Input((image_size, image_size, 3), name="images")
    return images, MeanSubtraction(preprocessing.mean, scale, name="preprocessing")(images)
