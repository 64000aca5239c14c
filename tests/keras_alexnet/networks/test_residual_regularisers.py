"""Regularisers of the residual family: which apply where, their probabilities and modes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import networks
from keras_alexnet.networks.residual.architecture import survival, swapout_keep
from tests.helpers.residual_networks import narrow, tiny


@pytest.mark.parametrize("index, probability", [(0, 0.99074), (26, 0.75), (53, 0.5)])
def test_survival_probabilities_fall_linearly(index, probability):
    assert survival(0.5, index, 54) == pytest.approx(probability, abs=1e-5)


def test_the_expected_number_of_active_blocks():
    probabilities = np.array([survival(0.5, index, 54) for index in range(54)])
    assert probabilities.sum() == pytest.approx(40.25)
    assert np.sqrt((probabilities * (1 - probabilities)).sum()) == pytest.approx(3.02, abs=0.01)


def test_keep_probabilities_of_swapout_fall_from_1():
    assert [swapout_keep(0.5, index, 9) for index in (0, 4, 8)] == [1, 0.75, 0.5]


@pytest.mark.medium
@pytest.mark.parametrize("option", ["survival", "shake_drop", "swapout"])
def test_a_probability_of_1_is_the_plain_network(option):
    """In training too; smaller ones are noise in training and nothing random at inference."""
    images = tf.random.stateless_uniform((2, 8, 8, 3), [1, 2], 0, 255)
    keras.utils.set_random_seed(1)
    plain, model = tiny(), tiny(**{option: 1.0})
    for layer in plain.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    for training in (False, True):  # training changes the moving averages
        np.testing.assert_allclose(model(images, training=training), plain(images, training=training), atol=1e-5)
    noisy = tiny(**{option: 0.5})
    outputs = [noisy(images, training=True).numpy() for _ in range(2)]
    assert not np.array_equal(*outputs)
    graph = tf.function(lambda images: noisy(images, training=False)).get_concrete_function(images).graph
    assert not [node.op for node in graph.as_graph_def().node if "Random" in node.op]


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("preresnet_20", {"shake_drop": 0.5}, "no such option; it accepts width, survival, .*, dropout"),
        ("shake_shake_26_2x32d", {"survival": 0.5}, "it accepts width, forward, backward, per, draw"),
        ("resnet_20", {"dropout": 0.5}, "it accepts width, survival, .*, shake_drop, shake_drop_per"),
        ("resnet_20", {"survival_per": "image"}, "survival_per=image: has no effect without survival"),
        (
            "resnet_20",
            {"survival": 0.5, "shake_drop_per": "image"},
            "shake_drop_per=image: has no effect without",
        ),
        ("resnet_20", {"survival": 0.5, "survival_per": "pixel"}, "per='pixel': expected 'batch' or 'image'"),
        ("resnet_20", {"survival": 0.0}, r"survival=0.0: expected 0 < survival <= 1"),
        ("resnet_20", {"survival": 0.5, "swapout": 0.5}, r"survival=0.5: excludes swapout=0.5; pass swapout=None"),
        ("stochastic_depth_110", {"shake_drop": 0.5}, r"survival=0.5: excludes shake_drop=0.5; pass shake_drop=None"),
        ("wrn_16_2", {"dropout": 1.0}, r"dropout=1.0: expected 0 <= dropout < 1"),
        ("resnet_20", {"width": 0}, "width=0: expected a number above 0"),
        ("resnet_20", {"image_size": 3}, "image_size=3: too small for resnet_20; expected at least 4"),
        ("se_resnet50", {"image_size": 16}, "image_size=16: too small for se_resnet50; expected at least 32"),
    ],
)
def test_options_that_do_not_apply_are_refused(name, options, says):
    with pytest.raises(ValueError, match=says):
        networks.create(name, classes=3, **options)


def test_shake_shake_takes_its_modes():
    model = narrow("shake_shake_26_2x32d", forward="even", backward="keep", per="batch", draw="bernoulli")
    layer = model.get_layer("stage1_block1_shake_shake")
    assert (layer.forward, layer.backward, layer.per, layer.draw) == ("even", "keep", "batch", "bernoulli")


@pytest.mark.parametrize(
    "options, layer, expected",
    [
        ({"survival": 0.5}, "stochastic_depth", {"per": "batch", "rescale": "inference"}),
        (
            {"survival": 0.5, "survival_per": "image", "survival_rescale": "training"},
            "stochastic_depth",
            {"survival": 0.5, "per": "image", "rescale": "training"},
        ),
        ({"shake_drop": 0.5, "shake_drop_per": "channel"}, "shake_drop", {"survival": 0.5, "per": "channel"}),
    ],
)
def test_stochastic_depth_and_shake_drop_take_their_modes(options, layer, expected):
    found = tiny(**options).get_layer(f"stage3_block1_{layer}").get_config()
    assert {name: found[name] for name in expected} == expected
