"""A network's layers in the order in which they compute, as short words."""

import keras

_WORDS = {
    "Add": "add",
    "Average": "mean",
    "BatchNormalization": "bn",
    "Concatenate": "concat",
    "Dense": "fc",
    "Flatten": "flatten",
    "GlobalAveragePooling2D": "global",
    "InputLayer": "input",
    "LocalResponseNormalization": "lrn",
    "MeanSubtraction": "mean",
    "TowerDropout": "dropout",
    "ZeroPadding2D": "pad",
}


def word(layer: keras.layers.Layer) -> str:
    """For example conv5x5/2-64 (kernel, stride, filters), max3/2, relu, bn."""
    kind = type(layer).__name__
    if kind in ("Conv2D", "LocallyConnected2D"):
        kernel = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
        stride = layer.strides[0] if kind == "Conv2D" else 1
        return f"{'conv' if kind == 'Conv2D' else 'local'}{kernel[0]}x{kernel[1]}/{stride}-{layer.filters}"
    if kind in ("MaxPooling2D", "AveragePooling2D", "OverlappingMaxPool"):
        size, stride = (value[0] if isinstance(value, tuple) else value for value in (layer.pool_size, layer.strides))
        return f"{'average' if kind == 'AveragePooling2D' else 'max'}{size}/{stride}"
    if kind == "Activation":
        return layer.activation.__name__
    return _WORDS.get(kind, kind)


def words(model: keras.Model) -> list[str]:
    """Of all layers after the preprocessing; for a network without branches."""
    return [word(layer) for layer in model.layers][2:]


def before(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers whose outputs a layer reads, in their order."""
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(layer.input)]


def path_to(layer: keras.layers.Layer, until: tuple[str, ...] = ("concat", "add", "input")) -> str:
    """The words from the last junction before a layer up to the layer, along the first inputs."""
    found = [word(layer)]
    while (layer := before(layer)[0]) is not None:
        found.append(word(layer))
        if found[-1] in until:
            break
    return " ".join(reversed(found))
