"""Builds the Keras model of a residual network."""

from typing import Any

import keras

from keras_alexnet.networks.blocks import classifier, max_pool, output
from keras_alexnet.networks.inputs import Preprocessing, image_input
from keras_alexnet.networks.residual.architecture import ORDERS, Noise, Residual, survival, swapout_keep
from keras_alexnet.networks.residual.blocks import block, convolution, steps


def build_model(
    name: str,
    spec: Residual,
    preprocessing: Preprocessing,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    *,
    width: float = 1.0,
    survival: float | None = None,
    shake_drop: float | None = None,
    swapout: float | None = None,
    dropout: float = 0.0,
    **arguments: Any,
) -> keras.Model:
    """The model: RGB `[N, image_size, image_size, 3]`, pixel values 0..255, to `[N, classes]`.

    Args:
      name: of the model.
      spec: its layers.
      preprocessing: of the images.
      classes: number of outputs.
      image_size: in pixels.
      classifier_activation: of the outputs.
      width: multiplies the numbers of channels.
      survival: survival probability of the last block, 0 to 1 (stochastic depth); it falls linearly from 1.
      shake_drop: the same for ShakeDrop.
      swapout: keep probability of the last block, 0 to 1; it falls linearly from 1.
      dropout: rate before the last convolution of every block.
      **arguments: of the layers of the regularisers, see `Noise`.

    Raises:
      ValueError: for values out of range or regularisers that exclude each other.
    """
    noise = {"survival": survival, "shake_drop": shake_drop, "swapout": swapout}
    _check(width, noise, dropout, arguments)
    spec = spec.scaled(width)
    images, x = image_input(name, image_size, _smallest_image(spec), preprocessing)
    x = _stages(spec, _stem(spec, x), noise, dropout, arguments)
    x = steps(spec, x, spec.end, "end_")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(images, output(classifier(x, classes), classifier_activation), name=name)


def _smallest_image(spec: Residual) -> int:
    """The side of images whose last maps have one pixel."""
    return 2 ** (len(spec.blocks) - 1) * spec.stem_stride**2


def _check(width: float, noise: dict[str, float | None], dropout: float, arguments: dict[str, Any]) -> None:
    if not width > 0:
        raise ValueError(f"width={width}: expected a number above 0")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}: expected 0 <= dropout < 1")
    given = {name: value for name, value in noise.items() if value is not None}
    for name, value in given.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name}={value}: expected 0 < {name} <= 1")
    if len(given) > 1:
        first, second, *_ = given
        raise ValueError(f"{first}={given[first]}: excludes {second}={given[second]}; pass {second}=None")
    for name, value in arguments.items():
        regulariser = name.rpartition("_")[0]
        if regulariser and regulariser not in given:
            raise ValueError(f"{name}={value}: has no effect without {regulariser}; expected both or none")


def _stem(spec: Residual, x: Any) -> Any:
    x = convolution(spec, x, *spec.stem, spec.stem_stride, "stem_conv")
    x = steps(spec, x, spec.stem_after, "stem_")
    if spec.stem_stride > 1:
        x = max_pool(x, "stem_pool")
    return x


def _stages(spec: Residual, x: Any, noise: dict[str, float | None], dropout: float, arguments: Any) -> Any:
    level1, index, total = x, 0, sum(spec.blocks)
    for stage, widths in enumerate(spec.block_widths(), 1):
        stride = 2 if stage > 1 else 1
        if stride > 1 and spec.down == "pool":
            x, stride = keras.layers.AveragePooling2D(2, padding="same", name=f"stage{stage}_pool")(x), 1
        level2 = x
        for number, width in enumerate(widths, 1):
            prefix, is_last = f"stage{stage}_block{number}_", number == len(widths)
            own = _noise_of_block(noise, dropout, arguments, index, total)
            x = block(spec, x, width, stride if number == 1 else 1, number == 1, own, prefix)
            if is_last and spec.levels > 1:
                sources = [(level2, stride, f"stage{stage}_level2")]
                sources += [(level1, 2 ** (len(spec.blocks) - 1), "level1")] * (stage == len(spec.blocks))
                x = keras.layers.Add(name=f"stage{stage}_add")([x, *(_far(spec, x, *source) for source in sources)])
            x = steps(spec, x, ORDERS[spec.order][3], prefix)
            index += 1
    return x


def _far(spec: Residual, x: Any, source: Any, stride: int, name: str) -> Any:
    """A shortcut over several blocks, to the shape of `x`."""
    return steps(spec, convolution(spec, source, x.shape[-1], 1, stride, f"{name}_conv"), "bn", f"{name}_")


def _noise_of_block(noise: dict[str, float | None], dropout: float, arguments: Any, index: int, total: int) -> Noise:
    schedules = {"survival": survival, "shake_drop": survival, "swapout": swapout_keep}
    values = {name: None if last is None else schedules[name](last, index, total) for name, last in noise.items()}
    return Noise(**values, dropout=dropout, arguments=arguments)
