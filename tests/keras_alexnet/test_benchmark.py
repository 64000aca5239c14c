import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.bare_ops import bare_step
from keras_alexnet.benchmark import interleaved, training_steps


@pytest.mark.parametrize("name", ["paper", "source2012", "caffe", "torchvision", "non_overlapping", "tanh"])
def test_the_bare_step_does_the_work_of_the_network(name):
    variant = VARIANTS[name].scaled(1 / 16)
    side = variant.crop_size
    images = tf.random.stateless_normal([2, side, side, 3], [0, 0]) * 50
    step = bare_step(variant, 10, images, tf.constant([0, 1]))
    assert float(step()) == pytest.approx(np.log(10), abs=0.1)
    variables = step.get_concrete_function().variables
    # Weights and velocities.
    assert sum(int(tf.size(v)) for v in variables) == 2 * AlexNet(variant, classes=10).count_params()


def test_contenders_take_turns_and_two_rounds_do_not_count():
    turns = []
    medians = interleaved({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=3)
    assert "".join(turns) == "ab" * 5 and set(medians) == {"a", "b"}


def test_every_contender_takes_a_step():
    for step in training_steps(VARIANTS["paper"].scaled(1 / 32), batch=2).values():
        assert np.isfinite(np.asarray(step()))
