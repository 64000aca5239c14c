import keras
import numpy as np
import pytest

from keras_alexnet.metrics import Top1Error, Top5Error

random = np.random.default_rng(0)
SCORES = random.normal(size=(60, 12)).astype(np.float32)
LABELS = random.integers(0, 12, 60)
RANKS = np.array([sorted(row, reverse=True).index(row[label]) for row, label in zip(SCORES, LABELS, strict=True)])


def result(metric, labels, scores, weights=None):
    metric.reset_state()
    # Two batches of different sizes.
    for part in (slice(0, 23), slice(23, None)):
        metric.update_state(labels[part], scores[part], None if weights is None else weights[part])
    return float(metric.result())


@pytest.mark.parametrize("metric, k", [(Top1Error(), 1), (Top5Error(), 5)])
def test_errors_are_counted_over_all_batches(metric, k):
    expected = np.mean(k <= RANKS)
    assert 0 < expected < 1
    assert result(metric, LABELS, SCORES) == pytest.approx(expected)
    assert result(metric, LABELS[:, None], SCORES) == pytest.approx(expected)
    assert result(metric, np.eye(12)[LABELS], SCORES) == pytest.approx(expected)
    softmax = np.exp(SCORES) / np.exp(SCORES).sum(-1, keepdims=True)
    assert result(metric, LABELS, softmax) == pytest.approx(expected)
    weights = random.uniform(0, 2, 60)
    assert result(metric, LABELS, SCORES, weights) == pytest.approx(np.average(k <= RANKS, weights=weights))


def test_equal_scores_are_correct_by_chance_only_and_nan_is_an_error():
    labels = np.arange(10)
    assert result(Top1Error(), labels, np.full((10, 10), 0.1, np.float32)) == pytest.approx(0.9)
    assert result(Top5Error(), labels, np.full((10, 10), np.nan, np.float32)) == 1


def test_with_few_classes_there_is_no_top_5_error():
    assert result(Top5Error(), np.array([1, 2, 0] * 10), np.eye(3, dtype=np.float32)[[0, 1, 2] * 10]) == 0


def test_fit_evaluate_and_a_saved_model_report_both(tmp_path):
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(12, kernel_initializer="identity")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=[Top1Error(), Top5Error()])
    logs = model.fit(SCORES, LABELS, batch_size=16, verbose=0).history
    expected = {"top1_error": np.mean(RANKS >= 1), "top5_error": np.mean(RANKS >= 5)}
    assert {name: logs[name][0] for name in expected} == pytest.approx(expected)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    found = reloaded.evaluate(SCORES, LABELS, verbose=0, return_dict=True)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
