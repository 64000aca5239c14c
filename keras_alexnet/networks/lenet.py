"""LeNet-5 as published: grey images, a partial connection table, trainable subsampling, and radial basis functions.

References: LeCun, Bottou, Bengio, Haffner, Gradient-Based Learning Applied to Document Recognition, Proceedings of the
IEEE 86 (1998), section II.B, Table I, Figure 3, appendix A (initialization). The codes of Figure 3 as transcribed in
mattwang44/LeNet-from-Scratch, utils/RBF_initial_weight.py. The paper has no weight decay; it trains with a diagonal
Levenberg-Marquardt method.
"""

import random
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.network import Network

# Table I: which of the 6 maps of S2 each of the 16 maps of C3 reads.
_C3_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
    (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip
# Figure 3: 12 rows of 7 pixels for each of the digits 0 to 9, a hexadecimal number for each row.
_DIGITS = (
    "3e 00 1c 36 63 63 63 63 36 1c 00 00",
    "0c 1c 3c 0c 0c 0c 0c 0c 0c 3f 00 00",
    "3e 00 3e 63 43 06 1c 30 60 7f 00 00",
    "7f 03 06 0c 1e 03 03 03 63 3e 00 00",
    "3e 00 00 33 33 73 63 63 67 3f 03 03",
    "3e 00 7f 60 60 3c 1e 03 63 3e 00 00",
    "1e 30 60 60 7e 73 63 63 73 3e 00 00",
    "7f 03 03 06 0c 0c 18 18 18 18 00 00",
    "3e 63 63 63 3e 63 63 63 63 3e 00 00",
    "3e 67 63 63 67 3f 03 03 06 3c 00 00",
)
_CODE_LENGTH = 84
# Grey 0 (background of MNIST's files) becomes -0.1 and 255 becomes 1.175 (section II.B).
_PREPROCESSING = inputs.Preprocessing((20.0, 20.0, 20.0), 1.275 / 255)


def networks() -> list[Network]:
    """The network of this module."""
    return [
        Network(
            name="lenet5",
            build=_build,
            image_size=32,
            resize_size=32,
            resize_policy="shorter_side",
            weight_decay=0.0,
            features_layer="f6_act",
        )
    ]


def codes(classes: int) -> tuple[str, ...]:
    """84 digits 1 and 0 for each class: the published bitmaps for 10 classes, else random but always the same ones."""
    if classes == len(_DIGITS):
        return tuple("".join(f"{int(row, 16):07b}" for row in digit.split()) for digit in _DIGITS)
    draw = random.Random(1998)
    return tuple(f"{draw.getrandbits(_CODE_LENGTH):0{_CODE_LENGTH}b}" for _ in range(classes))


def _build(classes: int, image_size: int, classifier_activation: str | None = "softmax") -> Any:
    import keras

    from keras_alexnet.layers import PartialConv2D, RadialBasisOutput, TrainableSubsampling

    if image_size != 32:
        raise ValueError(f"image_size={image_size}: lenet5 takes 32")
    images, maps = inputs.image_input("lenet5", image_size, 32, _PREPROCESSING)
    maps = keras.ops.image.rgb_to_grayscale(maps)
    maps = _act(keras.layers.Conv2D(6, 5, **_uniform(25), name="c1")(maps), "c1")
    maps = _act(TrainableSubsampling(_initializer(4), name="s2")(maps), "s2")
    # A map of C3 reads 3 to 6 maps; an initializer knows one fan-in.
    maps = _act(PartialConv2D(_C3_TABLE, 5, **_uniform(25 * 60 // 16), name="c3")(maps), "c3")
    maps = _act(TrainableSubsampling(_initializer(4), name="s4")(maps), "s4")
    maps = _act(keras.layers.Conv2D(120, 5, **_uniform(400), name="c5")(maps), "c5")
    units = keras.layers.Dense(_CODE_LENGTH, **_uniform(120), name="f6")(keras.layers.Flatten(name="c5_flatten")(maps))
    logits = RadialBasisOutput(codes(classes), name="output")(_act(units, "f6"))
    return keras.Model(images, blocks.output(logits, classifier_activation), name="lenet5")


def _act(values: Any, name: str) -> Any:
    import keras

    from keras_alexnet.layers import scaled_tanh

    return keras.layers.Activation(scaled_tanh, name=f"{name}_act")(values)


def _initializer(fan_in: int) -> Any:
    """Uniform in +-2.4 / fan-in (appendix A)."""
    import keras

    return keras.initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)


def _uniform(fan_in: int) -> dict[str, Any]:
    return {"kernel_initializer": _initializer(fan_in), "bias_initializer": _initializer(fan_in)}
