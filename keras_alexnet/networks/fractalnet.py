"""FractalNet: columns of different depth, joined by their mean.

References: Larsson, Maire, Shakhnarovich, FractalNet: Ultra-Deep Neural Networks without Residuals, ICLR 2017, sections
2 to 4 (structure, widths, drop-path rate, dropout rates); gustavla/fractalnet (Xavier initialization). The paper
reports 38.6 million parameters; the structure as drawn has 33.7 million. Pooling follows the join of a block, as drawn;
the authors' code pools each column first. Batch normalization has gamma and beta, unlike there. The paper states no
weight decay: this is DenseNet's.
"""

from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.network import Network

_WIDTHS = (64, 128, 256, 512, 512)
_COLUMNS = 3


def networks() -> list[Network]:
    """The networks of this module: 5 blocks, whose deepest column has 4 convolutions."""
    return [
        Network(
            name="fractalnet_20",
            build=_build,
            image_size=32,
            resize_size=32,
            resize_policy="shorter_side",
            weight_decay=0.0001,
            features_layer="features",
            options=("width", "dropout", "drop_path", "global_share"),
        )
    ]


def _build(
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    width: float = 1.0,
    dropout: float = 0.4,
    drop_path: float = 0.15,
    global_share: float = 0.5,
) -> Any:
    """Builds the network.

    Args:
      classes, image_size, classifier_activation: see `Network`.
      width: multiplies the numbers of filters.
      dropout: rate in the last block; it rises linearly from 0 in the first.
      drop_path: rate of local drop-path; 0 for neither local nor global drop-path.
      global_share: share of the batches in which a single column of the whole network is kept.
    """
    import keras

    from keras_alexnet.layers import DropPathColumn

    images, maps = inputs.image_input("fractalnet_20", image_size, 2 ** len(_WIDTHS), inputs.CIFAR)
    column = DropPathColumn(_COLUMNS, global_share, name="column")(maps) if drop_path else None
    for index, filters in enumerate(_WIDTHS):
        block = _Block(
            blocks.scaled(filters, width), dropout * index / (len(_WIDTHS) - 1), drop_path, column, index + 1
        )
        maps = keras.layers.MaxPooling2D(2, name=f"block{index + 1}_pool")(block.join(maps, _COLUMNS))
    features = keras.layers.Flatten(name="features")(maps)
    logits = blocks.classifier(features, classes)
    return keras.Model(images, blocks.output(logits, classifier_activation), name="fractalnet_20")


class _Block:
    """One block: convolution, dropout, batch normalization and ReLU in each layer."""

    def __init__(self, filters: int, dropout: float, drop_path: float, column: Any, number: int):
        self._filters, self._dropout, self._drop_path, self._column = filters, dropout, drop_path, column
        self._prefix = f"block{number}"
        self._layers = self._joins = 0

    def join(self, maps: Any, columns: int) -> Any:
        """The mean of the paths of a fractal with this number of columns."""
        import keras

        from keras_alexnet.layers import DropPathJoin

        paths = self._paths(maps, columns)
        if columns == 1:
            return paths[0]
        self._joins += 1
        name = f"{self._prefix}_join{self._joins}"
        if not self._drop_path:
            return keras.layers.Average(name=name)(paths)
        # The deepest column is in every join, the shallowest only in the last.
        own = tuple(range(_COLUMNS - columns, _COLUMNS))
        return DropPathJoin(self._drop_path, own, name=name)(paths, self._column)

    def _paths(self, maps: Any, columns: int) -> list:
        """The ends of the columns, the shallowest first: a convolution beside two fractals with one column less."""
        shallow = self._layer(maps)
        if columns == 1:
            return [shallow]
        return [shallow, *self._paths(self.join(maps, columns - 1), columns - 1)]

    def _layer(self, maps: Any) -> Any:
        self._layers += 1
        name = f"{self._prefix}_conv{self._layers}"
        maps = blocks.convolution(maps, self._filters, 3, name=name, kernel="glorot", bias=None)
        maps = blocks.dropout(maps, self._dropout, f"{name}_dropout")
        return blocks.relu(blocks.batch_norm(maps, f"{name}_bn"), f"{name}_relu")
