import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import Top1Error, Top5Error

random = np.random.default_rng(0)
LABELS = np.array([3, 0, 7, 11, 5, 5])


def scores():
    return random.normal(size=(6, 12)).astype(np.float32)


def wrong(values, labels, k):
    """By sorting, the class with the smaller index first."""
    best = np.argsort(-values, axis=-1, kind="stable")[:, :k]
    return np.array([label not in row for label, row in zip(labels, best, strict=True)])


@pytest.mark.parametrize("metric, k", [(Top1Error, 1), (Top5Error, 5)])
def test_the_error_over_batches_of_logits_or_probabilities(metric, k):
    first, second = scores(), scores()
    for transform in (lambda values: values, lambda values: keras.ops.softmax(values)):
        error = metric()
        for batch in (first, second[:4]):
            error.update_state(LABELS[: len(batch)], transform(batch))
        expected = np.concatenate([wrong(first, LABELS, k), wrong(second[:4], LABELS[:4], k)]).mean()
        np.testing.assert_allclose(error.result(), expected, rtol=1e-6)
        error.reset_state()
        assert float(error.result()) == 0


def test_labels_as_columns_and_one_hot():
    values = scores()
    expected = wrong(values, LABELS, 1).mean()
    for labels in (LABELS[:, None], keras.ops.one_hot(LABELS, 12), LABELS.astype(np.float32)):
        np.testing.assert_allclose(Top1Error()(labels, values), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_sample_weights(shape):
    values, weights = scores(), np.array([0, 1, 2, 0.5, 0, 3])
    expected = (wrong(values, LABELS, 1) * weights).sum() / weights.sum()
    np.testing.assert_allclose(Top1Error()(LABELS, values, weights.reshape(shape)), expected, rtol=1e-6)


def test_equal_and_not_finite_predictions():
    labels = np.arange(10)
    assert float(Top1Error()(labels, np.full((10, 10), 0.1, np.float32))) == pytest.approx(0.9)
    assert float(Top5Error()(labels, np.full((10, 10), 0.1, np.float32))) == pytest.approx(0.5)
    assert float(Top5Error()(labels, np.full((10, 10), np.nan, np.float32))) == 1
    few = np.eye(3, dtype=np.float32)
    assert float(Top5Error()(np.array([1, 2, 0]), few)) == 0
    assert float(Top5Error()(np.array([1, 2, 0]), few * np.nan)) == 1


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.medium
def test_under_fit_and_evaluate_and_in_a_saved_model(tmp_path, jit_compile):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(12)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[Top1Error()], weighted_metrics=[Top5Error()], jit_compile=jit_compile)
    x, weights = random.normal(size=(6, 4)).astype(np.float32), np.array([0.0, 1, 1, 2, 2, 1])
    assert {"top1_error", "top5_error"} <= model.fit(x, LABELS, batch_size=4, verbose=0).history.keys()
    model.save(tmp_path / "model.keras")
    for network in (model, keras.models.load_model(tmp_path / "model.keras")):
        found = network.evaluate(x, LABELS, batch_size=4, sample_weight=weights, verbose=0, return_dict=True)
        values = network.predict(x, verbose=0)
        assert found["top1_error"] == pytest.approx(wrong(values, LABELS, 1).mean(), rel=1e-6)
        expected = (wrong(values, LABELS, 5) * weights).sum() / weights.sum()
        assert found["top5_error"] == pytest.approx(expected, rel=1e-6)


def test_early_stopping_knows_that_less_is_better():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(12)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[Top1Error()])
    stopping = keras.callbacks.EarlyStopping("top1_error")
    model.fit(tf.zeros((6, 4)), LABELS, verbose=0, callbacks=[stopping])
    assert stopping.monitor_op is keras.ops.less or "less" in repr(stopping.monitor_op)
