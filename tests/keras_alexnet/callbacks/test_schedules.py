from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_alexnet import CosineSchedule, HandSchedule, PaperSGD, PlateauSchedule, StagedSchedule, StepSchedule
from keras_alexnet.callbacks.schedules import Schedule
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.train_and_evaluate import create_schedule


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
    with pytest.raises(ValueError, match=r"monitor='val_loss': expected one of .*validation_data"):
        rates_by(PlateauSchedule(), [0.5])


def test_the_step_schedule_divides_by_ten_at_its_epochs():
    rates = rates_by(StepSchedule(0.1, step_epochs=(2, 3)), [0.5] * 5)
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.001, 0.001], rtol=1e-5)


@pytest.mark.parametrize("step_epochs", [(0,), (3, 3), (5, 2)])
def test_steps_that_are_not_increasing_are_refused(step_epochs):
    with pytest.raises(ValueError, match=r"step_epochs=.*expected increasing numbers of epochs"):
        StepSchedule(0.1, step_epochs)


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


def rates_of_steps(schedule, epochs: int, steps: int, start=0.01) -> np.ndarray:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(PaperSGD(start), "mse")
    schedule.set_model(model)
    rates = []
    for epoch in range(epochs):
        schedule.on_epoch_begin(epoch)
        rates += [schedule.learning_rate_of_step(epoch, step, steps) for step in range(steps)]
        schedule.on_epoch_end(epoch, {"val_loss": 1.0})
    return np.array(rates)


def test_the_cosine_schedule_falls_to_zero_step_by_step_after_a_linear_warmup():
    rates = rates_of_steps(CosineSchedule(0.1, epochs=5, warmup_epochs=1), 5, 4)
    np.testing.assert_allclose(rates[:5], [0.025, 0.05, 0.075, 0.1, 0.1])
    # 16 steps from 0.1 to 0; in their middle 0.05.
    np.testing.assert_allclose(rates[4:], 0.05 * (1 + np.cos(np.pi * np.arange(16) / 16)), atol=1e-12)
    np.testing.assert_allclose(rates[12], 0.05)
    assert (np.diff(rates[4:]) < 0).all() and 0 < rates[-1] < 0.001


def test_the_cosine_schedule_stays_at_zero_after_its_end():
    np.testing.assert_allclose(rates_of_steps(CosineSchedule(0.1, epochs=2), 3, 2)[4:], 0, atol=1e-12)


@pytest.mark.parametrize(
    "create, later",
    [
        (Schedule, np.repeat(0.01, 6)),
        (lambda warmup_epochs: StagedSchedule(0.01, 4, warmup_epochs=warmup_epochs), None),
        (lambda warmup_epochs: HandSchedule(0.01, 4, warmup_epochs=warmup_epochs), None),
        (lambda warmup_epochs: PlateauSchedule(patience=1, warmup_epochs=warmup_epochs), np.repeat([1e-3, 1e-4], 2)),
    ],
)
def test_every_schedule_can_be_warmed_up(create, later):
    """The warm-up ends after 1.5 of four epochs of two steps."""
    rates, plain = (rates_of_steps(create(warmup_epochs=warmup), 4, 2) for warmup in (1.5, 0.0))
    np.testing.assert_allclose(rates, plain * np.minimum(1, np.arange(1, 9) / 3), rtol=1e-6)
    if later is not None:
        np.testing.assert_allclose(rates[-len(later) :], later, rtol=1e-6)


def test_a_resumed_warmup_continues_from_its_state():
    first, second = (PlateauSchedule(warmup_epochs=4) for _ in range(2))
    rates_of_steps(first, 1, 2)
    second.state = first.state
    # The optimizer of the resumed run holds the learning rate of the last step, not that of the schedule.
    rates = rates_of_steps(second, 1, 2, start=0.0025)
    np.testing.assert_allclose(rates, [0.01 / 8, 0.02 / 8], rtol=1e-6)


def test_fit_sets_the_learning_rate_at_each_step():
    seen = []

    class Rates(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(PaperSGD(0.01), "mse")
    callbacks = [CosineSchedule(0.1, epochs=2, warmup_epochs=1), Rates()]
    model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=2, epochs=2, callbacks=callbacks, verbose=0)
    np.testing.assert_allclose(seen, [0.05, 0.1, 0.1, 0.05], rtol=1e-6)


@pytest.mark.parametrize("warmup_epochs, says", [(-1, "not negative"), (3, "less than the 3 epochs")])
def test_an_impossible_warmup_is_refused(warmup_epochs, says):
    with pytest.raises(ValueError, match=f"^warmup_epochs={warmup_epochs}: expected .*{says}"):
        CosineSchedule(0.1, epochs=3, warmup_epochs=warmup_epochs)


def test_steps_that_a_schedule_does_not_have_are_reported(capsys):
    network = SimpleNamespace(bias_lr_multiplier=1)
    for schedule, reported in (("step", False), ("cosine", True), ("plateau", True)):
        config = TrainingConfig("-", "-", schedule=schedule, step_epochs=["2", "4"])
        create_schedule(SimpleNamespace(config=config, network=network))
        assert ("step_epochs=2,4 is not used: schedule=" in capsys.readouterr().out) is reported
