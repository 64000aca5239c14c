import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet import AlexNet
from keras_alexnet.metrics import error_counts, label_ranks
from keras_alexnet.ten_crop import crop_probabilities
from keras_alexnet.training.evaluation import Evaluator

random = np.random.default_rng(0)


def test_ranks_count_the_classes_ahead():
    scores = random.normal(size=(50, 12)).astype(np.float32)
    labels = random.integers(0, 12, 50)
    expected = [sorted(row, reverse=True).index(row[label]) for row, label in zip(scores.tolist(), labels, strict=True)]
    np.testing.assert_array_equal(label_ranks(scores, labels), expected)
    top1, top5 = error_counts(scores, labels)
    assert (int(top1), int(top5)) == (sum(r >= 1 for r in expected), sum(r >= 5 for r in expected))


def test_a_network_that_says_the_same_for_all_classes_is_right_by_chance_only():
    labels = np.arange(10)
    np.testing.assert_array_equal(label_ranks(np.full((10, 10), 0.1, np.float32), labels), labels)


def test_what_is_not_a_number_is_an_error():
    scores = np.full((2, 10), np.nan, np.float32)
    assert [int(n) for n in error_counts(scores, np.zeros(2, np.int32))] == [2, 2]


def test_with_few_classes_nothing_is_in_error_at_top_5():
    assert [int(n) for n in error_counts(np.eye(3, dtype=np.float32), np.array([1, 2, 0]))] == [3, 0]


def test_ten_views_are_averaged_after_softmax():
    model = AlexNet(width=1 / 16, classes=4, classifier_activation=None)
    stored = random.integers(0, 256, (2, 256, 256, 3)).astype(np.uint8)
    offsets = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    crops = [stored[:, y : y + 224, x : x + 224] for y, x in offsets]
    crops += [crop[:, :, ::-1] for crop in crops]
    expected = np.mean([keras.ops.softmax(model(crop.astype(np.float32))) for crop in crops], 0)
    np.testing.assert_allclose(crop_probabilities(model, tf.constant(stored), "ten"), expected, rtol=1e-4)


def test_an_evaluation_counts_every_good_image_and_names_the_bad_ones():
    model = AlexNet(width=1 / 16, classes=4, classifier_activation=None)
    stored = random.integers(0, 256, (7, 256, 256, 3)).astype(np.uint8)
    labels = random.integers(0, 4, 7).astype(np.int32)
    valid = np.array([True, True, False, True, True, True, True])
    keys = np.array([f"k{n}" for n in range(7)])
    batches = tf.data.Dataset.from_tensor_slices((stored, labels, valid, keys)).batch(3)
    seen = []
    rates = Evaluator(model, "center")(batches, seen.append)
    assert rates.images == 6 and rates.bad == ("k2",) and seen == [3, 6, 7]
    best = model.predict(stored[:, 16:240, 16:240], verbose=0).argmax(-1)
    assert rates.top1_error == np.mean((best != labels)[valid])


SHARED = """
import keras, numpy as np, tensorflow as tf
from keras_alexnet import AlexNet
from keras_alexnet.training.evaluation import Evaluator
from keras_alexnet.distribute.strategies import make_strategy
strategy = make_strategy("mirrored", 3)
random = np.random.default_rng(0)
stored = random.integers(0, 256, (7, 256, 256, 3)).astype(np.uint8)
labels, valid = random.integers(0, 9, 7).astype(np.int32), np.arange(7) != 5
keys = np.array([f"k{n}" for n in range(7)])
batches = tf.data.Dataset.from_tensor_slices((stored, labels, valid, keys)).batch(5)
keras.utils.set_random_seed(1)
with strategy.scope():
    model = AlexNet(width=1 / 16, classes=9, classifier_activation=None, init="he")
for evaluator in (Evaluator(model, "center"), Evaluator(model, "center", strategy)):
    rates = evaluator(batches)
    print(rates.images, rates.top1_error, rates.top5_error, f"{rates.loss:.5f}", rates.skipped, rates.bad)
"""


def test_replicas_share_an_evaluation_and_drop_no_image():
    run = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    alone, shared = run.stdout.splitlines()
    assert alone == shared and alone.startswith("6 ") and alone.endswith("1 ('k5',)")
