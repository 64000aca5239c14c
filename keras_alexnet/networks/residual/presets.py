"""Residual networks as data. Needs no TensorFlow.

References: the papers named below; KaimingHe/resnet-1k-layers, facebook/fb.resnet.torch, jhkim89/PyramidNet,
szagoruyko/wide-residual-networks, facebookresearch/ResNeXt, hujie-frank/SENet, xgastaldi/shake-shake,
yueatsprograms/Stochastic_Depth,
imenurok/ShakeDrop; takedarts/resnetfamily for the survey's configurations.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from keras_alexnet.networks.inputs import CIFAR, IMAGENET, ZERO_TO_ONE, Preprocessing
from keras_alexnet.networks.residual.architecture import Residual


@dataclass(frozen=True)
class Preset:
    """A network of the family.

    Attributes:
      architecture: its layers.
      weight_decay: of its paper's recipe.
      defaults: options that it is built with unless others are given.
      image_size, resize_size: see `Network`.
      preprocessing: of the images.
    """

    architecture: Residual
    weight_decay: float = 1e-4
    defaults: dict[str, Any] = field(default_factory=dict)
    image_size: int = 32
    resize_size: int = 32
    preprocessing: Preprocessing = CIFAR


def _equal(depth: int, convolutions: int = 2, rest: int = 2, stages: int = 3) -> tuple[int, ...]:
    """Blocks of each stage for a depth of `stages * convolutions * n + rest`, rounded down."""
    return ((depth - rest) // (stages * convolutions),) * stages


def _resnet(depth: int, **words: Any) -> Residual:
    """He et al., CVPR 2016, section 4.2; zero-padding shortcuts (option A)."""
    return Residual(blocks=_equal(depth), stem_after="bn relu", **words)


def _preresnet(depth: int, **words: Any) -> Residual:
    """He et al., "Identity mappings in deep residual networks", ECCV 2016, with basic blocks as in fb.resnet.torch."""
    return Residual(blocks=_equal(depth), order="pre", share="first", end="bn relu", **words)


def _wide(depth: int, k: int) -> Residual:
    """Zagoruyko and Komodakis, BMVC 2016, table 1."""
    return Residual(
        widths=(16 * k, 32 * k, 64 * k), blocks=_equal(depth, rest=4), order="pre", share="width", shortcut="proj",
        end="bn relu", init="he",
    )  # fmt: skip


def _pyramid(depth: int, alpha: float) -> Residual:
    """Han, Kim, Kim, CVPR 2017, section 2."""
    return Residual(
        widths=(16, 16, 16), blocks=_equal(depth), stem_after="bn", order="single", shortcut="average", alpha=alpha,
        end="bn relu",
    )  # fmt: skip


def _resnext(cardinality: int, width: int) -> Residual:
    """Xie et al., CVPR 2017, section 5.3."""
    return Residual(
        widths=(64, 128, 256), blocks=_equal(29, 3), stem=(64, 3), stem_after="bn relu", kind="bottleneck", expand=4,
        inner=cardinality * width / 64, groups=cardinality, shortcut="proj_bn",
    )  # fmt: skip


def _shake_shake(width: int) -> Residual:
    """Gastaldi 2017, section 2.1; the stem has 16 channels in all of them (models/shakeshake.lua)."""
    return Residual(
        widths=(width, 2 * width, 4 * width), blocks=_equal(26), stem_after="bn", order="relu_first",
        shortcut="two_paths", branches=2, end="relu",
    )  # fmt: skip


def _survey(k: int = 1, **words: Any) -> Residual:
    """What resnetfamily builds for "101 layers" (98 layers with weights), whatever the network is called."""
    return replace(
        Residual(
            widths=(16 * k, 32 * k, 64 * k), blocks=_equal(101), stem=(16 * k, 3), stem_after="bn", order="single",
            down="pool", end="relu", bias=True, init="lecun", epsilon=2e-5,
        ),
        **words,
    )  # fmt: skip


# Hu, Shen, Sun, CVPR 2018, section 3: gates on the branches' outputs. As Caffe's model, strides are on the 1x1.
_SE_RESNET50 = Residual(
    widths=(64, 128, 256, 512), blocks=(3, 4, 6, 3), stem=(64, 7), stem_stride=2, stem_after="bn relu",
    kind="bottleneck", expand=4, shortcut="proj_bn", down="1x1", se=16,
)  # fmt: skip
_PRERESNET_164 = Residual(
    blocks=_equal(164, 3), kind="bottleneck", expand=4, order="pre", share="width", shortcut="proj", down="1x1",
    end="bn relu",
)  # fmt: skip

PRESETS: dict[str, Preset] = {
    **{f"resnet_{depth}": Preset(_resnet(depth)) for depth in (20, 32, 44, 56, 110)},
    **{f"preresnet_{depth}": Preset(_preresnet(depth)) for depth in (20, 110)},
    "preresnet_164": Preset(_PRERESNET_164),
    **{f"wrn_{d}_{k}": Preset(_wide(d, k), 5e-4) for d, k in ((16, 2), (16, 4), (40, 4), (28, 10))},
    **{f"pyramidnet_110_a{alpha}": Preset(_pyramid(110, alpha)) for alpha in (84, 270)},
    **{f"resnext_29_{cardinality}x64d": Preset(_resnext(cardinality, 64), 5e-4) for cardinality in (8, 16)},
    # Zhang et al., TCSVT 2017, with zero-padding shortcuts of the blocks.
    "ror3_110": Preset(_resnet(110, levels=3)),
    **{f"shake_shake_26_2x{width}d": Preset(_shake_shake(width)) for width in (32, 96)},
    "shakedrop_pyramidnet_110_a270": Preset(_pyramid(110, 270), defaults={"shake_drop": 0.5}),
    # Huang et al., ECCV 2016, section 4: p_L = 0.5; shortcuts by average pooling (ResidualDrop.lua).
    "stochastic_depth_110": Preset(_resnet(110, shortcut="average"), defaults={"survival": 0.5}),
    # Singh et al., NIPS 2016, table 1, "v2 (20) W x 4".
    "swapout_20_w4": Preset(_preresnet(20, widths=(64, 128, 256)), defaults={"swapout": 0.5}),
    "se_resnet50": Preset(_SE_RESNET50, image_size=224, resize_size=256, preprocessing=IMAGENET),
    **{f"se_resnet_{depth}": Preset(_resnet(depth, se=16)) for depth in (20, 110)},
    "survey_resnet": Preset(_survey(), preprocessing=ZERO_TO_ONE),
    "survey_wide_resnet": Preset(_survey(4), preprocessing=ZERO_TO_ONE),
    "survey_pyramidnet": Preset(_survey(widths=(16, 16, 16), alpha=84, rounding="floor"), preprocessing=ZERO_TO_ONE),
    # "50 layers, r = 4": only these four stages have 50 layers.
    "survey_senet": Preset(
        replace(_SE_RESNET50, stem=(64, 3), stem_stride=1, down="3x3", se=4), preprocessing=ZERO_TO_ONE
    ),
}
