"""The paper's ablations: its network with one change each."""

import dataclasses
from typing import Any

from keras_alexnet.variants.architecture import Activation, Convolution, Dropout, Variant, all_sides


def ablations(paper: Variant) -> tuple[Variant, ...]:
    """The ablations of `paper`."""
    half = {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192}
    one_gpu = paper.changed(
        "one_gpu",
        "one tower with half the filters in conv1 to conv4; conv5 and fc are whole",
        "paper, section 3.2; net #145-half of the 2012 code",
        **{name: {"filters": filters} for name, filters in half.items()},
    )
    no_lrn = paper.changed("no_lrn", "without response normalization", "paper, section 3.3", lrn1=None, lrn2=None)
    pool = {"size": 2, "strides": 2, "overhang": True}
    # Paddings change with the pooling so that fc6 still reads 6 x 6 maps.
    non_overlapping = paper.changed(
        "non_overlapping",
        "pooling over 2 x 2 without overlap",
        "paper, section 3.4; net #147 of the 2012 code",
        pool1=pool,
        pool2=pool,
        pool5=pool,
        conv2={"padding": all_sides(1)},
        conv5={"padding": all_sides(0)},
    )
    sixth = (
        Convolution("conv6", 256, 3, padding=all_sides(1), connectivity="full", stddev=0.03, bias=1.0),
        Activation("relu_conv6"),
    )
    after_pool5 = [layer.name for layer in paper.layers].index("pool5") + 1
    conv6 = dataclasses.replace(
        paper,
        name="conv6",
        summary="with a sixth convolution behind the last pooling: the paper's CNN*",
        sources=(("", "paper, section 6; net #146 of the 2012 code"),),
        layers=(*paper.layers[:after_pool5], *sixth, *paper.layers[after_pool5:]),
    )
    activations = [layer.name for layer in paper.layers if isinstance(layer, Activation)]
    tanh = paper.changed(
        "tanh", "tanh in place of ReLU", "paper, section 3.1", **{name: {"function": "tanh"} for name in activations}
    )
    no_dropout = paper.changed("no_dropout", "without dropout", "paper, section 4.2", dropout6=None)
    no_dropout = dataclasses.replace(no_dropout, head=tuple(x for x in paper.head if not isinstance(x, Dropout)))
    return (
        dataclasses.replace(one_gpu, towers=1),
        no_lrn,
        no_dropout,
        non_overlapping,
        conv6,
        tanh,
        *_without_one_convolution(paper),
    )


def _without_one_convolution(paper: Variant) -> tuple[Variant, ...]:
    """Section 7: "removing any convolutional layer ... resulted in inferior performance".

    The paper does not say what happens to the layers around it. Here its ReLU and normalization are removed too; its
    stride and pooling stay, so that all maps behind the pooling keep their sizes.
    """
    also: dict[int, dict[str, dict[str, Any] | None]] = {
        1: {
            "relu1": None,
            "lrn1": None,
            "pool1": None,
            "conv2": {"strides": 4, "padding": all_sides(0), "connectivity": "full"},
            # Pooling over 3 x 3 by 2, twice.
            "pool2": {"size": 7, "strides": 4},
        },
        2: {"relu2": None, "lrn2": None},
    }
    return tuple(
        paper.changed(
            f"without_conv{number}",
            f"without conv{number}",
            "paper, section 7",
            **({f"conv{number}": None} | also.get(number, {f"relu{number}": None})),
        )
        for number in range(1, 6)
    )
