import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import Swapout, stochastic_inference
from keras_alexnet.ten_crop import crop_probabilities
from keras_alexnet.training.evaluation import Evaluator, mean_of_passes

pytestmark = [pytest.mark.numeric, pytest.mark.medium]

CLASSES = 4
ROOT = Path(__file__).parents[3]


def batches(count: int, batch_size: int, bad: int) -> tf.data.Dataset:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 256, 256, 3)).astype(np.uint8)
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    keys = np.array([f"k{n}" for n in range(count)])
    examples = (images, labels, np.arange(count) != bad, keys)
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)


def linear_classifier(activation: str | None = None) -> keras.Model:
    """A classifier of 224 x 224 crops with few weights."""
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Input((224, 224, 3)),
        keras.layers.Rescaling(1 / 64, -2),
        keras.layers.AveragePooling2D(56),
        keras.layers.Flatten(),
        keras.layers.Dense(CLASSES, activation=activation),
    ]
    return keras.Sequential(layers)


def test_an_evaluation_counts_every_good_image_and_names_the_bad_ones():
    model, seen = linear_classifier(), []
    evaluator = Evaluator(model, "center", confusion_classes=CLASSES)
    rates = evaluator(batches(7, 3, bad=2), seen.append)
    assert evaluator._step.experimental_get_tracing_count() == 1, "the last batch has another shape"
    assert rates.images == 6 and rates.skipped == 1 and rates.bad == ("k2",) and seen == [3, 6, 7]
    images, labels, valid, _ = next(iter(batches(7, 7, bad=2)))
    best = model.predict(images[:, 16:240, 16:240], verbose=0).argmax(-1)
    assert rates.top1_error == np.mean((best != labels)[valid])
    expected = np.zeros((CLASSES, CLASSES), int)
    np.add.at(expected, (labels.numpy()[valid], best[valid]), 1)
    assert rates.confusion.tolist() == expected.tolist()


@pytest.mark.parametrize("crops", ["center", "ten"])
def test_logits_probabilities_and_a_function_give_the_same_error_rates(crops):
    logits, softmax = linear_classifier(), linear_classifier("softmax")

    def function(images):
        return crop_probabilities(softmax, images, crops, from_logits=False)

    evaluators = [Evaluator(logits, crops), Evaluator(softmax, crops, from_logits=False), Evaluator(function)]
    rates = [evaluator(batches(5, 3, bad=1)) for evaluator in evaluators]
    assert len({(rate.images, rate.top1_error, rate.top5_error) for rate in rates}) == 1
    np.testing.assert_allclose([rate.loss for rate in rates], rates[0].loss, rtol=1e-5)


def test_ten_crops_are_averaged_after_the_softmax():
    model = linear_classifier()
    images = next(iter(batches(2, 2, bad=9)))[0].numpy()
    offsets = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    crops = [images[:, y : y + 224, x : x + 224] for y, x in offsets]
    crops += [crop[:, :, ::-1] for crop in crops]
    expected = np.mean([keras.ops.softmax(model(crop.astype(np.float32))) for crop in crops], 0)
    found = crop_probabilities(model, tf.constant(images), "ten", from_logits=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Devices must be set up before TensorFlow starts.
THREE_REPLICAS = """
import json
from keras_alexnet.distribute.strategies import make_strategy
strategy = make_strategy("mirrored", 3)
from tests.keras_alexnet.training.test_evaluation import Evaluator, batches, linear_classifier
with strategy.scope():
    model = linear_classifier()
for evaluator in (Evaluator(model, "center"), Evaluator(model, "center", strategy)):
    print(json.dumps(vars(evaluator(batches(7, 5, bad=5)))))
"""


@pytest.mark.subprocess
def test_passes_with_random_masks_are_averaged_after_the_softmax():
    """The masks turn logits of (4, 0) into (0, 0), (4, 0) or (8, 0): the mean is not the softmax of the mean."""
    images = keras.Input((224, 224, 3))
    logits = keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer=lambda *_, **__: [4.0, 0.0])(
        keras.layers.GlobalAveragePooling2D()(images)
    )
    model = keras.Model(images, Swapout(0.5, seed=1)([logits, logits]))
    resized = tf.zeros([1, 256, 256, 3], tf.uint8)
    with stochastic_inference(model):
        one, many = (mean_of_passes(model, "center", passes, from_logits=True)(resized)[0] for passes in (1, 400))
    possible = 1 / (1 + np.exp([-0.0, -4.0, -8.0]))
    assert np.abs(possible - float(one[0])).min() < 1e-5
    assert abs(float(many[0]) - possible @ [0.25, 0.5, 0.25]) < 0.055  # five standard deviations
    assert abs(float(many[0]) - possible[1]) > 0.06


def test_replicas_share_an_evaluation_and_drop_no_image():
    run = subprocess.run([sys.executable, "-c", THREE_REPLICAS], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    alone, shared = map(json.loads, run.stdout.splitlines())
    assert (shared["images"], shared["skipped"], shared["bad"]) == (6, 1, ["k5"])
    for name in ("loss", "calibration_error"):
        assert shared.pop(name) == pytest.approx(alone.pop(name), rel=1e-5)
    assert shared == alone
