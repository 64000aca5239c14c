"""The layers of a residual block. The order of operations is data: `architecture.ORDERS`."""

from typing import Any

import keras

from keras_alexnet.layers import GroupedConv2D, ShakeDrop, ShakeShake, StochasticDepth, Swapout
from keras_alexnet.networks import blocks
from keras_alexnet.networks.residual.architecture import ORDERS, Noise, Residual


def steps(spec: Residual, x: Any, names: str, prefix: str) -> Any:
    """Applies the layers in `names`, of "bn" and "relu"; they are called `prefix` plus their kind."""
    for name in names.split():
        if name == "bn":
            x = blocks.batch_norm(x, f"{prefix}bn", (blocks.BATCH_NORM[0], spec.epsilon))
        else:
            x = blocks.relu(x, f"{prefix}relu")
    return x


def convolution(spec: Residual, x: Any, filters: int, size: int, stride: int, name: str) -> Any:
    """A convolution with `size // 2` zeros on each side."""
    # The same padding as "same", except for strides. A layer of zeros costs time.
    padding = "same" if stride == 1 else size // 2
    bias = 0.0 if spec.bias else None
    return blocks.convolution(x, filters, size, stride, padding, name=name, kernel=spec.init, bias=bias)


def grouped_convolution(spec: Residual, x: Any, filters: int, stride: int, name: str) -> Any:
    """A 3x3 convolution in `spec.groups` groups."""
    if stride > 1:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return GroupedConv2D(
        filters, 3, stride, "same" if stride == 1 else "valid", groups=spec.groups, use_bias=spec.bias,
        kernel_initializer=blocks.initializer(spec.init), name=name,
    )(x)  # fmt: skip


def block(spec: Residual, x: Any, width: int, stride: int, is_first: bool, noise: Noise, prefix: str) -> Any:
    """One residual block without the steps after the addition.

    Args:
      spec: the network.
      x: its input.
      width: base width.
      stride: of the block.
      is_first: whether it is the first of its stage.
      noise: its regularisers.
      prefix: of the names of its layers.
    """
    before = ORDERS[spec.order][0]
    shares = spec.share == "first" and is_first
    shares |= spec.share == "width" and x.shape[-1] != width * spec.expand
    if shares:
        x = steps(spec, x, before, f"{prefix}preact_")
        before = ""
    shortcut = project(spec, x, width * spec.expand, stride, f"{prefix}shortcut")
    letters = "ab"[: spec.branches]
    branches = [
        _branch(spec, x, before, width, stride, noise, prefix + (letter if spec.branches > 1 else ""))
        for letter in letters
    ]
    if spec.branches > 1:
        branches = [ShakeShake(**noise.arguments, name=f"{prefix}shake_shake")(branches)]
    (branch,) = branches
    if noise.swapout is not None:
        return Swapout(noise.swapout, name=f"{prefix}swapout")([shortcut, branch])
    if noise.survival is not None:
        arguments = noise.arguments_of("survival")
        branch = StochasticDepth(noise.survival, **arguments, name=f"{prefix}stochastic_depth")(branch)
    if noise.shake_drop is not None:
        arguments = noise.arguments_of("shake_drop")
        branch = ShakeDrop(noise.shake_drop, **arguments, name=f"{prefix}shake_drop")(branch)
    return keras.layers.Add(name=f"{prefix}add")([shortcut, branch])


def _branch(spec: Residual, x: Any, before: str, width: int, stride: int, noise: Noise, prefix: str) -> Any:
    _, between, after, _ = ORDERS[spec.order]
    inner = spec.groups * max(1, int(width * spec.inner / spec.groups))
    # (filters, kernel size)
    convolutions = [(width, 3), (width * spec.expand, 3)]
    if spec.kind == "bottleneck":
        convolutions = [(inner, 1), (inner, 3), (width * spec.expand, 1)]
    strided = 1 if spec.kind == "bottleneck" and spec.down == "3x3" else 0
    for index, (filters, size) in enumerate(convolutions):
        x = steps(spec, x, between if index else before, f"{prefix}{index}_")
        if index == len(convolutions) - 1:
            x = blocks.dropout(x, noise.dropout, f"{prefix}dropout")
        own_stride = stride if index == strided else 1
        if size == 3 and spec.groups > 1:
            x = grouped_convolution(spec, x, filters, own_stride, f"{prefix}conv{index + 1}")
        else:
            x = convolution(spec, x, filters, size, own_stride, f"{prefix}conv{index + 1}")
    x = steps(spec, x, after, f"{prefix}{len(convolutions)}_")
    return squeeze_excitation(x, spec.se, f"{prefix}se") if spec.se else x


def squeeze_excitation(x: Any, reduction: int, prefix: str) -> Any:
    """Multiplies every channel by a gate between 0 and 1, computed from the means of all (Hu et al. 2018)."""
    channels = x.shape[-1]
    gates = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}_mean")(x)
    gates = keras.layers.Dense(max(1, channels // reduction), activation="relu", name=f"{prefix}_reduce")(gates)
    gates = keras.layers.Dense(channels, activation="sigmoid", name=f"{prefix}_expand")(gates)
    return keras.layers.Multiply(name=f"{prefix}_scale")([x, gates])


def project(spec: Residual, x: Any, filters: int, stride: int, name: str) -> Any:
    """The shortcut to maps of another shape; `x` itself if the shape is the same."""
    channels = x.shape[-1]
    if stride == 1 and channels == filters:
        return x
    if spec.shortcut in ("proj", "proj_bn"):
        x = convolution(spec, x, filters, 1, stride, f"{name}_conv")
        return steps(spec, x, "bn" if spec.shortcut == "proj_bn" else "", f"{name}_")
    if spec.shortcut == "two_paths":
        return _two_paths(spec, x, filters, stride, name)
    if stride > 1:
        # A window of one pixel takes every second one.
        window = stride if spec.shortcut == "average" else 1
        x = keras.layers.AveragePooling2D(window, stride, padding="same", name=f"{name}_pool")(x)
    return keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, filters - channels))) if filters > channels else x


def _two_paths(spec: Residual, x: Any, filters: int, stride: int, name: str) -> Any:
    """Two 1x1 convolutions with half of the channels; the second reads the maps moved right and down by a pixel."""
    x = steps(spec, x, "relu", f"{name}_")
    moved = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_moved")(x)
    moved = keras.layers.Cropping2D(((0, 1), (0, 1)), name=f"{name}_cropped")(moved)
    halves = (filters // 2, filters - filters // 2)
    paths = [
        convolution(spec, path, half, 1, stride, f"{name}_conv{index}")
        for index, (path, half) in enumerate(zip((x, moved), halves, strict=True), 1)
    ]
    return steps(spec, keras.layers.Concatenate(name=f"{name}_concat")(paths), "bn", f"{name}_")
