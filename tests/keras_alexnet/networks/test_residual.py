"""The residual family: parameters, widths, and order of operations."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

from keras_alexnet import networks
from keras_alexnet.networks.inputs import IMAGENET
from keras_alexnet.networks.residual import PRESETS
from tests.helpers.layer_order import before
from tests.helpers.parameters import trainable
from tests.helpers.residual_networks import narrow, tiny

# (classes, parameters). The papers' and osmr/imgclsmob's counts, and sums over the layers.
COUNTS = {
    "resnet_20": (10, 269_722),
    "wrn_16_2": (10, 691_674),
    "shake_shake_26_2x32d": (10, 2_923_162),
    "resnext_29_8x64d": (10, 34_426_698),
}
LARGE_COUNTS = {
    "preresnet_20": (10, 269_722),
    "swapout_20_w4": (10, 4_256_986),
    "resnet_56": (10, 853_018),
    "wrn_40_4": (10, 8_949_210),
    "resnet_110": (100, 1_733_812),
    "preresnet_110": (10, 1_727_962),
    "preresnet_164": (10, 1_703_258),
    "wrn_28_10": (100, 36_536_884),
    "pyramidnet_110_a84": (10, 3_904_446),
    "pyramidnet_110_a270": (10, 28_485_477),
    "shakedrop_pyramidnet_110_a270": (100, 28_511_307),
    "resnext_29_16x64d": (10, 68_155_210),
    "ror3_110": (10, 1_732_154),
    "shake_shake_26_2x96d": (10, 26_192_922),
    "stochastic_depth_110": (10, 1_727_962),
    "se_resnet50": (1000, 28_088_024),
    "se_resnet_20": (10, 272_095),
    "se_resnet_110": (10, 1_742_200),
    "survey_resnet": (10, 1_540_618),
    "survey_wide_resnet": (100, 24_488_548),
    "survey_pyramidnet": (100, 3_453_974),
    "survey_senet": (10, 33_599_498),
}


@pytest.mark.medium
@pytest.mark.parametrize("name, expected", COUNTS.items())
def test_parameters(name, expected):
    assert trainable(networks.create(name, classes=expected[0])) == expected[1]


@pytest.mark.slow
@pytest.mark.parametrize("name, expected", LARGE_COUNTS.items())
def test_parameters_of_large_networks(name, expected):
    assert trainable(networks.create(name, classes=expected[0])) == expected[1]


def widths(name):
    return list(itertools.chain(*PRESETS[name].architecture.block_widths()))


def test_widths_of_pyramids_grow_by_the_same_real_number():
    assert len(widths("pyramidnet_110_a84")) == 54
    for name in ("pyramidnet_110_a84", "survey_pyramidnet"):
        blocks = PRESETS[name].architecture.block_widths()
        assert [stage[-1] for stage in blocks] == [44, 72, 100]
    # The survey's code cuts; the paper rounds half up.
    assert (widths("pyramidnet_110_a84")[:4], widths("survey_pyramidnet")[:4]) == ([18, 19, 21, 22], [17, 19, 21, 23])
    assert widths("pyramidnet_110_a270")[-1] == 286


WORDS = {
    "Activation": "relu",
    "Add": "add",
    "BatchNormalization": "bn",
    "Conv2D": "conv",
    "GroupedConv2D": "conv",
    "Multiply": "se",
    "ShakeDrop": "shakedrop",
    "ShakeShake": "shake",
    "StochasticDepth": "depth",
    "Swapout": "swapout",
    "TowerDropout": "dropout",
}


def path(model, name):
    """The operations from the beginning of a block to its last layer, backwards along the last (branch's) inputs."""
    layer, prefix, found = model.get_layer(name), name.rpartition("_")[0], []
    while layer.name.startswith(prefix):
        found += [WORDS[type(layer).__name__]] if type(layer).__name__ in WORDS else []
        sources = before(layer)
        layer = sources[0 if found and found[-1] == "se" else -1]
    return " ".join(reversed(found))


ORDERS = {
    "resnet_20": ("stage2_block1_relu", "conv bn relu conv bn add relu"),
    "preresnet_20": ("stage2_block1_add", "bn relu conv bn relu conv add"),
    "preresnet_164": ("stage2_block1_add", "bn relu conv bn relu conv bn relu conv add"),
    "pyramidnet_110_a84": ("stage2_block1_add", "bn conv bn relu conv bn add"),
    "resnext_29_8x64d": ("stage2_block1_relu", "conv bn relu conv bn relu conv bn add relu"),
    "se_resnet50": ("stage2_block1_relu", "conv bn relu conv bn relu conv bn se add relu"),
    "shake_shake_26_2x32d": ("stage2_block1_add", "relu conv bn relu conv bn shake add"),
    "shakedrop_pyramidnet_110_a270": ("stage2_block1_add", "bn conv bn relu conv bn shakedrop add"),
    "stochastic_depth_110": ("stage2_block1_relu", "conv bn relu conv bn depth add relu"),
    "survey_resnet": ("stage2_block1_add", "bn conv bn relu conv bn add"),
    "swapout_20_w4": ("stage2_block1_swapout", "bn relu conv bn relu conv swapout"),
}
ENDS = {"post": ["add", "relu"], "pre": ["bn", "relu"], "single": ["bn", "relu"], "relu_first": ["add", "relu"]}
LIGHT = ("resnet_20", "preresnet_20", "resnext_29_8x64d", "shake_shake_26_2x32d", "swapout_20_w4")


def check_order(name):
    model, (last, expected) = narrow(name), ORDERS[name]
    assert path(model, last) == expected
    (end,) = before(model.get_layer("features"))
    words = [WORDS[type(layer).__name__] for layer in (before(end)[0], end)]
    assert words == (["add", "relu"] if name.startswith("survey") else ENDS[PRESETS[name].architecture.order])


@pytest.mark.medium
@pytest.mark.parametrize("name", LIGHT)
def test_order_of_operations(name):
    """A wrong order has the right parameters and shapes."""
    check_order(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ORDERS if name not in LIGHT])
def test_order_of_operations_of_deep_networks(name):
    check_order(name)


@pytest.mark.medium
def test_dropout_of_a_wide_network_is_before_the_second_convolution():
    model = narrow("wrn_16_2", dropout=0.3)
    assert path(model, "stage2_block1_add") == "bn relu conv bn relu dropout conv add"


def shortcut_begins(model, block):
    """The name of the layer where a block's shortcut begins."""
    layer = before(model.get_layer(f"{block}_add"))[0]
    while layer.name.startswith((f"{block}_shortcut", "pad")):
        (layer,) = before(layer)
    return layer.name


@pytest.mark.medium
def test_where_shortcuts_of_preactivated_blocks_begin():
    """fb.resnet.torch shares the first activation in the first block of a stage, wide networks where widths differ."""
    model = narrow("preresnet_20")
    begins = {block: shortcut_begins(model, block) for block in ("stage1_block1", "stage1_block2", "stage2_block1")}
    assert begins == {
        "stage1_block1": "stage1_block1_preact_relu",
        "stage1_block2": "stage1_block1_add",
        "stage2_block1": "stage2_block1_preact_relu",
    }
    # With a width of 1/8, k is 1/4: the stem has 2 channels, stage 1 has 4.
    assert shortcut_begins(narrow("wrn_16_2"), "stage1_block1") == "stage1_block1_preact_relu"
    plain = networks.create("wrn_16_2", classes=3, width=1 / 2)  # the stem keeps 8 of 16 channels, stage 1 has 16
    assert shortcut_begins(plain, "stage1_block2") == "stage1_block1_add"


@pytest.mark.slow
def test_levels_of_ror():
    """ReLU follows the addition of the outer shortcuts."""
    model = narrow("ror3_110")
    for stage, sources in ((1, 2), (2, 2), (3, 3)):
        (total,) = before(model.get_layer(f"stage{stage}_block18_relu"))
        assert total.name == f"stage{stage}_add"
        assert [layer.name for layer in before(total)] == [
            f"stage{stage}_block18_add",
            f"stage{stage}_level2_bn",
            "level1_bn",
        ][:sources]
        assert before(model.get_layer(f"stage{stage}_block17_relu"))[0].name == f"stage{stage}_block17_add"


def test_a_zero_padding_shortcut_takes_every_second_pixel():
    """With all branches at zero the network is its shortcuts."""
    model = tiny()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and "block" in layer.name:
            layer.gamma.assign(keras.ops.zeros_like(layer.gamma))
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    inside = keras.Model(model.input, [model.get_layer(name).output for name in ("stem_relu", "stage2_block1_relu")])
    stem, stage2 = inside.predict_on_batch(images)
    assert stage2.shape == (2, 4, 4, 8)
    np.testing.assert_array_equal(stage2[..., :4], stem[:, ::2, ::2])
    assert not stage2[..., 4:].any()


def test_the_first_pooling_of_se_resnet50_is_that_of_caffe():
    """Without padding and rounded up: the first window covers pixels 0 to 2, not -1 to 1 (SENet's prototxt)."""
    from keras_alexnet.networks.residual.builder import build_model

    spec = dataclasses.replace(PRESETS["se_resnet50"].architecture, blocks=(1, 1, 1, 1))
    model = build_model("short", spec, IMAGENET, 3, 32, None, width=1 / 16)
    pool = model.get_layer("stem_pool")
    assert [layer.name for layer in before(pool)] == ["stem_relu"]
    maps = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype(np.float32)
    expected = [[maps[0, y : y + 3, x : x + 3].max() for x in range(0, 16, 2)] for y in range(0, 16, 2)]
    np.testing.assert_array_equal(np.squeeze(pool(maps)), expected)
