import keras
import numpy as np
import pytest

from keras_alexnet import HandSchedule, PaperSGD, PlateauSchedule, StagedSchedule


def rates_by(schedule, errors, start=0.01):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(PaperSGD(start), "mse")
    schedule.set_model(model)
    rates = []
    for epoch, error in enumerate(errors):
        schedule.on_epoch_begin(epoch)
        rates.append(float(model.optimizer.learning_rate))
        schedule.on_epoch_end(epoch, {"val_top1_error": error})
    return rates


def test_the_plateau_schedule_divides_by_ten_three_times_and_no_more():
    errors = [0.9, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    rates = rates_by(PlateauSchedule("val_top1_error", patience=2), errors)
    np.testing.assert_allclose(rates, [1e-2] * 4 + [1e-3] * 3 + [1e-4] * 2 + [1e-5] * 3, rtol=1e-5)


def test_the_plateau_schedule_goes_on_from_its_state():
    whole, first, second = (PlateauSchedule("val_top1_error", patience=2) for _ in range(3))
    errors = [0.9, 0.8, 0.8, 0.8, 0.8, 0.8]
    expected = rates_by(whole, errors)
    got = rates_by(first, errors[:3])
    second.state = first.state
    got += rates_by(second, errors[3:])
    np.testing.assert_allclose(got, expected)


def test_the_plateau_schedule_says_what_it_misses():
    with pytest.raises(KeyError, match="watches 'val_loss'"):
        rates_by(PlateauSchedule(), [0.5])


def test_the_staged_schedule_has_four_equal_stages():
    rates = rates_by(StagedSchedule(0.01, epochs=8), [0.5] * 8)
    np.testing.assert_allclose(rates, np.repeat([1e-2, 1.59e-3, 2.52e-4, 4e-5], 2), rtol=5e-3)


def effective_rates(schedule, epochs: int) -> np.ndarray:
    """For each epoch the rates of weights, of biases, and of conv1's weights."""
    layers = [keras.layers.Dense(1, name="conv1"), keras.layers.Dense(1, name="fc6")]
    model = keras.Sequential([keras.Input((1,)), *layers])
    model.compile(PaperSGD(schedule.learning_rate), "mse")
    model.optimizer.build(model.trainable_variables)
    schedule.set_model(model)
    rates = []
    for epoch in range(epochs):
        schedule.on_epoch_begin(epoch)
        rate = float(model.optimizer.learning_rate)
        # conv1/kernel, conv1/bias, fc6/kernel, fc6/bias
        multipliers = keras.ops.convert_to_numpy(model.optimizer._multipliers)
        rates.append(rate * multipliers[[2, 3, 0]])
    return np.array(rates)


def test_the_staged_schedule_drops_the_rate_of_biases_once_in_the_middle():
    rates = effective_rates(StagedSchedule(0.01, epochs=8, bias_lr_multiplier=2.0), 8)
    np.testing.assert_allclose(rates[:, 0], np.repeat([1e-2, 1.59e-3, 2.52e-4, 4e-5], 2), rtol=5e-3)
    np.testing.assert_allclose(rates[:, 1], np.repeat([0.02, 0.002], 4), rtol=1e-5)


def test_the_hand_schedule_drops_when_the_authors_did():
    schedule = HandSchedule(0.01, epochs=91)
    rates = effective_rates(schedule, 91)
    weights, biases, conv1 = rates.T
    epochs = np.arange(91)
    np.testing.assert_allclose(
        weights, np.select([epochs < 25, epochs < 51, epochs < 79], [1e-2, 1e-3, 1e-4], 1e-5), rtol=1e-5
    )
    np.testing.assert_allclose(biases, np.where(epochs < 25, 0.02, 0.002), rtol=1e-5)
    expected = np.select([epochs < 25, epochs < 51, epochs < 67, epochs < 72], [1e-2, 1e-3, 1e-4, 1e-5], 0)
    np.testing.assert_allclose(conv1, expected, rtol=1e-5)
    assert [schedule.augments_colors(epoch) for epoch in (0, 66, 67, 90)] == [True, True, False, False]


def test_the_hand_schedule_keeps_its_proportions_in_shorter_runs():
    rates = effective_rates(HandSchedule(0.01, epochs=9), 9)[:, 0]
    np.testing.assert_allclose(rates, [1e-2] * 3 + [1e-3] * 3 + [1e-4] * 2 + [1e-5], rtol=1e-5)
