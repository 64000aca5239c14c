"""LeNet-5 as published in 1998."""

import math

import keras
import numpy as np
import pytest

from keras_alexnet import networks
from keras_alexnet.networks.lenet import codes


def test_parameters_of_each_layer():
    model = networks.create("lenet5", 10)
    counts = {layer.name: sum(math.prod(w.shape) for w in layer.trainable_weights) for layer in model.layers}
    expected = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert {name: count for name, count in counts.items() if count} == expected
    assert sum(expected.values()) == 60_000
    assert model.get_layer("output").centers.shape == (10, 84)


def test_order_and_shapes():
    model = networks.create("lenet5", 10)
    names = [layer.name for layer in model.layers if "gray" not in layer.name]
    expected = "images preprocessing c1 c1_act s2 s2_act c3 c3_act s4 s4_act c5 c5_act c5_flatten f6 f6_act output"
    assert names == [*expected.split(), "predictions"]
    shapes = [model.get_layer(name).output.shape[1:] for name in ("c1", "s2", "c3", "s4", "c5", "f6")]
    assert shapes == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (1, 1, 120), (84,)]


def test_the_input_is_grey_between_the_papers_levels():
    model = networks.create("lenet5", 10)
    grey = keras.Model(model.input, model.get_layer("c1").input)
    images = np.zeros((2, 32, 32, 3), np.float32)
    images[1] = 255
    values = grey.predict_on_batch(images)
    assert values.shape == (2, 32, 32, 1)
    np.testing.assert_allclose(values[0], -0.1, atol=1e-3)
    np.testing.assert_allclose(values[1], 1.175, atol=1e-3)


def test_the_published_codes_are_those_of_the_digits():
    digits = np.array([list(map(int, code)) for code in codes(10)]).reshape(10, 12, 7)
    one = ["...##..", "..###..", ".####.."] + ["...##.."] * 6 + [".######", ".......", "......."]
    assert ["".join(".#"[pixel] for pixel in row) for row in digits[1]] == one
    assert digits[7, 0].all() and not digits[:4, 10:].any()


def test_other_numbers_of_classes_have_random_codes_that_never_change():
    assert codes(3) == codes(5)[:3] and len(set(codes(1000))) == 1000
    assert {len(code) for code in codes(1000)} == {84}
    assert networks.create("lenet5", 3).output_shape == (None, 3)


def test_the_nearest_code_wins():
    model = networks.create("lenet5", 10)
    centers = np.array(model.get_layer("output").centers)
    head = keras.Model(model.get_layer("f6_act").output, model.output)
    probabilities = head.predict_on_batch(centers)
    assert probabilities.argmax(-1).tolist() == list(range(10))
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)


def test_images_have_32_pixels():
    with pytest.raises(ValueError, match="image_size=28: lenet5 takes 32"):
        networks.create("lenet5", 10, 28)
