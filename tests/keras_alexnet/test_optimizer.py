import keras
import numpy as np
import pytest

from keras_alexnet import PaperSGD, PlateauSchedule, StagedSchedule


def variables(*names):
    return [keras.Variable(np.array([1.0, -2.0, 0.5]) * (i + 1), name=name) for i, name in enumerate(names)]


def papers_rule(w, gradients, rates, momentum, decay):
    """Section 5, in float64: v <- momentum v - decay rate w - rate gradient; w <- w + v."""
    w, v = np.array(w, np.float64), np.zeros(len(w))
    for gradient, rate in zip(gradients, rates, strict=True):
        v = momentum * v - decay * rate * w - rate * gradient
        w = w + v
    return w


@pytest.mark.parametrize(
    "bias_multiplier, decay_biases", [(1.0, True), (2.0, False)], ids=["as printed", "as the 2012 code"]
)
def test_the_update_rule_over_steps_with_a_changing_rate(bias_multiplier, decay_biases):
    optimizer = PaperSGD(0.1, weight_decay=0.05, bias_lr_multiplier=bias_multiplier, decay_biases=decay_biases)
    kernel, bias = variables("kernel_0", "bias_0")
    start = [kernel.numpy(), bias.numpy()]
    random = np.random.default_rng(0)
    gradients, rates = random.normal(size=(6, 2, 3)), np.array([0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    for (of_kernel, of_bias), rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in (of_kernel, of_bias)], [kernel, bias])
    np.testing.assert_allclose(kernel, papers_rule(start[0], gradients[:, 0], rates, 0.9, 0.05), rtol=1e-5)
    expected = papers_rule(start[1], gradients[:, 1], rates * bias_multiplier, 0.9, 0.05 if decay_biases else 0.0)
    np.testing.assert_allclose(bias, expected, rtol=1e-5)


def test_the_rule_is_not_keras_decoupled_weight_decay():
    # With no gradient the paper's decay builds up speed; decoupled decay shrinks by the same factor at each step.
    (w,) = variables("kernel_0")
    optimizer = PaperSGD(0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.apply([keras.ops.zeros(3)], [w])
    factors, velocity, weight = [], 0.0, 1.0
    for _ in range(3):
        velocity = 0.9 * velocity - 0.5 * 0.1 * weight
        weight += velocity
        factors.append(weight)
    np.testing.assert_allclose(w, np.array([1.0, -2.0, 0.5]) * weight, rtol=1e-6)
    assert abs(weight - 0.95**3) > 0.05


def test_it_trains_a_model_by_fit_and_survives_its_config():
    optimizer = PaperSGD.from_config(PaperSGD(0.05, 0.8, 0.001, 2.0, False).get_config())
    config = optimizer.get_config()
    names = ("momentum", "weight_decay", "bias_lr_multiplier", "decay_biases")
    assert [config[name] for name in names] == [0.8, 0.001, 2.0, False]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    history = model.fit(x, x @ [1.0, 2.0, 3.0, 4.0], epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.1 * history[0]


def test_impossible_constants_are_named():
    with pytest.raises(ValueError, match=r"momentum=1\.5"):
        PaperSGD(momentum=1.5)
    with pytest.raises(ValueError, match=r"weight_decay=-1"):
        PaperSGD(weight_decay=-1)


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
