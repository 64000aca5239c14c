"""Stochastic depth, swapout, shake-shake and ShakeDrop: their published arithmetic, their draws, and inference."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import ShakeDrop, ShakeShake, StochasticDepth, Swapout, stochastic_inference

MAPS = (8, 4, 4, 16)


def maps(value, shape=MAPS):
    return tf.fill(shape, float(value))


def trained(layer, inputs, calls=1):
    """The outputs of `calls` training steps, in one array."""
    call = tf.function(lambda: layer(inputs, training=True))
    return np.stack([call().numpy() for _ in range(calls)])


def inject(monkeypatch, module, **draws):
    """Replaces the draws of a module: name of the function -> values by stream."""
    for name, values in draws.items():
        monkeypatch.setattr(
            f"keras_alexnet.layers.{module}.{name}", lambda seed, stream, *_, values=values: tf.constant(values[stream])
        )


def with_gradients(layer, tensors, upstream):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        inputs = tensors if len(tensors) > 1 else tensors[0]
        output = layer(inputs, training=True)
    return output.numpy().item(), [g.numpy().item() for g in tape.gradient(output, tensors, tf.fill([1] * 4, upstream))]


def one(value):
    return maps(value, (1, 1, 1, 1))


def test_stochastic_depth_keeps_or_drops_the_branch_of_a_whole_batch():
    outputs = trained(StochasticDepth(0.75, seed=1), maps(2), 200)
    assert set(np.unique(outputs)) == {0, 2}
    assert all(len(np.unique(output)) == 1 for output in outputs)
    assert abs((outputs[:, 0, 0, 0, 0] == 2).mean() - 0.75) < 0.1


def test_stochastic_depth_by_image_with_rescaling_in_training():
    layer = StochasticDepth(0.5, per="image", rescale="training", seed=1)
    outputs = trained(layer, maps(2, (200, 2, 2, 3)))[0]
    assert set(np.unique(outputs)) == {0, 4} and abs(outputs.mean() - 2) < 0.3
    assert layer(maps(2), training=False).numpy().max() == 2


def test_a_closed_gate_stops_the_gradient_of_the_branch(monkeypatch):
    inject(monkeypatch, "stochastic_depth", bernoulli=[0.0])
    assert with_gradients(StochasticDepth(0.5), [one(3)], 1.0) == (0, [0])


@pytest.mark.parametrize("shortcut, branch, mean, variance", [(2, 3, 2.5, 3.25), (2, -3, -0.5, 3.25)])
def test_swapout_has_four_outcomes(shortcut, branch, mean, variance):
    """Their mean is the inference output; it is not that after a ReLU."""
    layer = Swapout(0.5, seed=1)
    outputs = trained(layer, [maps(shortcut), maps(branch)], 4)
    assert set(np.unique(outputs)) == {0, shortcut, branch, shortcut + branch}
    assert abs(outputs.mean() - mean) < 0.1 and abs(outputs.var() - variance) < 0.2
    assert np.unique(layer([maps(shortcut), maps(branch)], training=False)) == mean
    if branch < 0:
        assert abs(np.maximum(outputs, 0).mean() - 0.5) < 0.05 and max(mean, 0) == 0


def test_swapout_that_keeps_everything_is_a_plain_sum():
    for training in (True, False):
        assert np.unique(Swapout(1.0)([maps(2), maps(3)], training=training)) == 5


def test_stochastic_inference_draws_only_in_its_block():
    images = keras.Input(MAPS[1:])
    model = keras.Model(images, Swapout(0.5)([images, images]))
    assert np.unique(model(maps(2), training=False)) == 2
    outputs, state = [], model.layers[-1].seed_generator.state.numpy()
    for _ in range(2):
        with stochastic_inference(model):
            outputs += [model(maps(2), training=False).numpy() for _ in range(2)]
    assert len(np.unique(outputs[0])) == 3 and not np.array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[:2], outputs[2:])
    np.testing.assert_array_equal(model.layers[-1].seed_generator.state, state)
    assert np.unique(model(maps(2), training=False)) == 2
    with pytest.raises(ValueError, match="has no Swapout layer"), stochastic_inference(keras.Sequential()):
        pass


def test_shake_shake_uses_other_weights_in_the_backward_pass(monkeypatch):
    """Automatic differentiation of the forward pass would give 1 and 3."""
    inject(monkeypatch, "shake", uniform=[0.25, 0.75])
    assert with_gradients(ShakeShake(), [one(2), one(10)], 4.0) == (8, [3, 1])
    assert with_gradients(ShakeShake(backward="keep"), [one(2), one(10)], 4.0) == (8, [1, 3])
    assert with_gradients(ShakeShake(backward="even"), [one(2), one(10)], 4.0) == (8, [2, 2])
    assert with_gradients(ShakeShake(forward="even"), [one(2), one(10)], 4.0) == (6, [3, 1])
    assert ShakeShake()([one(2), one(10)], training=False).numpy().item() == 6


@pytest.mark.parametrize("draw, variance", [("uniform", 1 / 12), ("bernoulli", 1 / 4)])
def test_shake_shake_draws_by_image(draw, variance):
    outputs = trained(ShakeShake(draw=draw, seed=1), [maps(0, (500, 2, 2, 3)), maps(1, (500, 2, 2, 3))])[0]
    assert np.ptp(outputs, axis=(1, 2, 3)).max() == 0
    assert abs(outputs.mean() - 0.5) < 0.06 and abs(outputs.var() - variance) < 0.02
    equal = trained(ShakeShake(draw=draw), [maps(3), maps(3)])
    np.testing.assert_allclose(equal, 3, rtol=1e-6)


@pytest.mark.parametrize("gate, output, gradient", [(1.0, 8, 1), (0.0, -4, 0.25)])
def test_shake_drop_is_a_plain_branch_or_shaken(monkeypatch, gate, output, gradient):
    """With a shortcut of 1 the block gives 9 or -3."""
    inject(monkeypatch, "shake", uniform={1: -0.5, 2: 0.25}, bernoulli=[gate])
    assert with_gradients(ShakeDrop(0.75), [one(8)], 1.0) == (output, [gradient])
    assert ShakeDrop(0.75)(one(8), training=False).numpy().item() == 6


@pytest.mark.parametrize("per, distinct", [("batch", 1), ("image", 8), ("channel", 8 * 16), ("pixel", 8 * 4 * 4 * 16)])
def test_shake_drop_shares_its_factors(per, distinct):
    layer = ShakeDrop(1e-6, per=per, seed=1)
    # Within float32's precision some of the draws are equal.
    assert abs(len(np.unique(trained(layer, maps(1)))) - distinct) <= distinct // 100


@pytest.mark.medium
def test_moments_of_shake_drops_factors():
    """At p = 0.5: forward mean p, variance p + (1 - p) / 3 - p^2; backward mean p + (1 - p) / 2."""
    layer, branch = ShakeDrop(0.5, seed=1), maps(1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(branch)
            output = layer(branch, training=True)
        return output, tape.gradient(output, branch)

    outputs, gradients = (np.stack(values) for values in zip(*(step() for _ in range(400)), strict=True))
    assert abs(outputs.mean() - 0.5) < 0.08 and abs(outputs.var() - 0.41667) < 0.04
    assert abs(gradients.mean() - 0.75) < 0.04


LAYERS = [
    (StochasticDepth, {"survival": 0.5}, 1),
    (Swapout, {"keep": 0.5}, 2),
    (ShakeShake, {"per": "batch"}, 2),
    (ShakeDrop, {"survival": 0.5, "forward": (0.0, 0.0), "per": "channel"}, 1),
]


@pytest.mark.parametrize("layer_class, arguments, inputs", LAYERS)
def test_draws_depend_on_the_seed_and_the_step_only(layer_class, arguments, inputs):
    values = tf.random.stateless_normal(MAPS, [1, 2])
    values = values if inputs == 1 else [values, -values]
    first, second = (layer_class(**arguments, seed=5) for _ in range(2))
    outputs = trained(first, values, 6)
    assert any(not np.array_equal(outputs[0], other) for other in outputs[1:])
    np.testing.assert_array_equal(trained(second, values, 3), outputs[:3])
    # A resumed run restores the state of the generator.
    resumed = layer_class(**arguments, seed=7)
    resumed.seed_generator.state.assign(second.seed_generator.state)
    np.testing.assert_array_equal(trained(resumed, values, 3), outputs[3:])


@pytest.mark.parametrize("layer_class, arguments, inputs", LAYERS)
def test_replicas_draw_numbers_of_their_own(layer_class, arguments, inputs, monkeypatch):
    values = tf.random.stateless_normal(MAPS, [1, 2])
    values = values if inputs == 1 else [values, -values]

    def on_replica(index):
        replica = types.SimpleNamespace(replica_id_in_sync_group=tf.constant(index))
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: replica)
        return trained(layer_class(**arguments, seed=5), values, 8)

    assert not np.array_equal(on_replica(0), on_replica(1))


@pytest.mark.parametrize("layer_class, arguments, inputs", LAYERS)
def test_configs_and_mixed_precision(layer_class, arguments, inputs):
    layer = layer_class(**arguments, seed=5, dtype="mixed_bfloat16")
    values = maps(2) if inputs == 1 else [maps(2), maps(3)]
    for training in (True, False):
        assert layer(values, training=training).dtype == "bfloat16"
    copy = layer_class.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(*(keras.ops.cast(x(values, training=False), "float32") for x in (layer, copy)))


@pytest.mark.parametrize("layer_class, arguments, inputs", LAYERS)
def test_nothing_is_random_at_inference(layer_class, arguments, inputs):
    layer = layer_class(**arguments)
    values = maps(2) if inputs == 1 else [maps(2), maps(3)]
    graph = tf.function(lambda: layer(values, training=False)).get_concrete_function().graph
    assert not [node.op for node in graph.as_graph_def().node if "Random" in node.op]


@pytest.mark.parametrize(
    "layer, arguments",
    [
        (StochasticDepth, {"survival": 0}),
        (StochasticDepth, {"per": "pixel", "survival": 1}),
        (Swapout, {"keep": 1.5}),
        (ShakeShake, {"draw": "normal"}),
        (ShakeShake, {"per": "pixel"}),
        (ShakeDrop, {"survival": -1}),
        (ShakeDrop, {"per": "row", "survival": 1}),
    ],
)
def test_values_that_make_no_sense_are_refused(layer, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}=.*: expected"):
        layer(**arguments)
