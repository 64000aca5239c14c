import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import PaperSGD
from keras_alexnet.optimizer import MINIMUM_COMPILED_SIZE

pytestmark = pytest.mark.numeric


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


class OneLayer(keras.Model):
    """Variables conv1/kernel, conv1/bias and fc8/kernel, all ones."""

    def __init__(self):
        super().__init__()
        self.conv1 = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones", name="conv1")
        self.fc8 = keras.layers.Dense(2, kernel_initializer="ones", use_bias=False, name="fc8")

    def call(self, inputs):
        return self.fc8(self.conv1(inputs))


def steps_of(optimizer, count: int) -> list[np.ndarray]:
    """The values of OneLayer's variables after `count` steps whose gradients are all 1."""
    model = OneLayer()
    model(np.zeros((1, 2), np.float32))
    for _ in range(count):
        optimizer.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    return [v.numpy() for v in model.trainable_variables]


def one_weight(rate: float, decay: float, count: int) -> float:
    """The paper's rule for a weight of 1 and gradients of 1, in Python's floats."""
    weight, velocity = 1.0, 0.0
    for _ in range(count):
        velocity = 0.9 * velocity - decay * rate * weight - rate * 1.0
        weight += velocity
    return weight


def test_every_layer_has_its_multiplier_and_biases_another():
    optimizer = PaperSGD(
        0.01, weight_decay=0.1, bias_lr_multiplier=2.0, decay_biases=False, layer_lr_multipliers={"fc8": 10.0}
    )
    kernel, bias, fc8 = steps_of(optimizer, 3)
    np.testing.assert_allclose(kernel, one_weight(0.01, 0.1, 3), rtol=1e-6)
    np.testing.assert_allclose(bias, one_weight(0.02, 0.0, 3), rtol=1e-6)
    np.testing.assert_allclose(fc8, one_weight(0.1, 0.1, 3), rtol=1e-6)


def test_a_layer_with_multiplier_0_stands_still_though_it_had_momentum():
    optimizer = PaperSGD(0.01)
    model = OneLayer()
    model(np.zeros((1, 2), np.float32))
    ones = [keras.ops.ones(v.shape) for v in model.trainable_variables]
    optimizer.apply(ones, model.trainable_variables)
    kernel, bias, fc8 = (v.numpy() for v in model.trainable_variables)
    optimizer.layer_lr_multipliers = {"conv1": 0.0}
    optimizer.apply(ones, model.trainable_variables)
    np.testing.assert_array_equal(model.trainable_variables[0].numpy(), kernel)
    np.testing.assert_array_equal(model.trainable_variables[1].numpy(), bias)
    assert np.all(model.trainable_variables[2].numpy() < fc8)


def test_multipliers_survive_the_optimizers_configuration():
    optimizer = PaperSGD(layer_lr_multipliers={"fc8": 10.0}, bias_lr_multiplier=2.0)
    twin = PaperSGD.from_config(optimizer.get_config())
    assert twin.layer_lr_multipliers == {"fc8": 10.0} and twin.bias_lr_multiplier == 2.0


def test_multipliers_of_layers_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"found 'fc9'; expected some of conv1, fc8"):
        steps_of(PaperSGD(layer_lr_multipliers={"fc9": 2.0}), 1)
    with pytest.raises(ValueError, match=r"fc8=-1"):
        PaperSGD(layer_lr_multipliers={"fc8": -1})


@pytest.mark.parametrize("name, decays", [("kernel", True), ("bias", False)])
def test_large_variables_are_updated_by_the_same_rule(name, decays):
    random = np.random.default_rng(0)
    start = random.normal(size=MINIMUM_COMPILED_SIZE)
    gradients, rates = random.normal(size=(4, len(start))), [0.1, 0.1, 0.01, 0.0]
    variable = keras.Variable(start, name=name, dtype="float32")
    optimizer = PaperSGD(0.1, weight_decay=0.05, bias_lr_multiplier=2.0, decay_biases=False)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
    rates = np.array(rates) * (1.0 if decays else 2.0)
    expected = papers_rule(start, gradients, rates, 0.9, 0.05 if decays else 0.0)
    np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.medium
def test_the_rule_is_compiled_for_large_variables_and_without_a_strategy():
    def is_compiled(size, strategy=None):
        strategy = strategy or tf.distribute.get_strategy()
        with strategy.scope():
            variable, optimizer = keras.Variable(np.zeros(size, np.float32), name="kernel"), PaperSGD()
            optimizer.build([variable])
        update = tf.function(lambda: strategy.run(lambda: optimizer.apply([tf.ones(size)], [variable])))
        return "_XlaMustCompile" in str(update.get_concrete_function().graph.as_graph_def())

    assert is_compiled(MINIMUM_COMPILED_SIZE) and not is_compiled(MINIMUM_COMPILED_SIZE - 1)
    assert not is_compiled(MINIMUM_COMPILED_SIZE, tf.distribute.OneDeviceStrategy("CPU:0"))


@pytest.mark.parametrize(
    "argument, value",
    [
        ("weight_decay", None),
        ("bias_lr_multiplier", "2"),
        ("learning_rate", float("nan")),
        ("momentum", None),
        ("layer_lr_multipliers", ["conv1"]),
        ("layer_lr_multipliers", {"conv1": "x"}),
    ],
)
def test_what_is_not_a_number_is_named(argument, value):
    with pytest.raises(ValueError, match=f"^{argument}"):
        PaperSGD(**{argument: value})
