"""FractalNet's drop-path: the arithmetic of local and global drop-path, and nothing random at inference."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import DropPathColumn, DropPathJoin
from keras_alexnet.layers.drop_path import LOCAL

TWO_AND_SIX = [tf.constant([[2.0]]), tf.constant([[6.0]])]


def draws(layer, inputs, count=2000, **arguments):
    call = tf.function(lambda: layer(inputs, training=True, **arguments))
    return np.array([call().numpy().item() for _ in range(count)])


@pytest.mark.medium
def test_local_drop_path_is_the_mean_of_the_paths_that_are_kept():
    """Two inputs, drop 0.15: 4 with probability 0.7225, 2 and 6 with 0.13875 each; the mean is 4 exactly."""
    values = draws(DropPathJoin(0.15, seed=3), TWO_AND_SIX)
    assert set(values) == {2.0, 4.0, 6.0}
    for value, probability in ((4, 0.7225), (2, 0.13875), (6, 0.13875)):
        assert abs((values == value).mean() - probability) < 0.05
    assert abs(values.mean() - 4) < 0.15


def test_a_dropped_path_has_no_gradient_and_the_others_share_it():
    layer, seen = DropPathJoin(0.5, seed=0), set()
    paths = [tf.Variable([[1.0]]) for _ in range(3)]
    for _ in range(20):
        with tf.GradientTape() as tape:
            output = layer([path.value() for path in paths], training=True)
        gradients = np.array([gradient.numpy().item() for gradient in tape.gradient(output, paths)])
        kept = np.count_nonzero(gradients)
        np.testing.assert_allclose(gradients[gradients > 0], 1 / kept, rtol=1e-6)
        seen.add(kept)
    assert seen == {1, 2, 3}  # never all dropped


@pytest.mark.parametrize("column, expected", [(LOCAL, 4.0), (0, 2.0), (2, 6.0), (1, 4.0)])
def test_global_drop_path_keeps_one_column_for_the_whole_network(column, expected):
    """A join without a path of the column takes the mean of all."""
    join = DropPathJoin(0.0, columns=(0, 2))
    assert join(TWO_AND_SIX, column=tf.constant(column), training=True).numpy().item() == expected


def test_half_of_the_batches_have_one_column():
    values = draws(DropPathColumn(3, seed=1), tf.zeros([1, 1]), 600)
    assert set(values) == {LOCAL, 0, 1, 2}
    assert abs((values == LOCAL).mean() - 0.5) < 0.1


def fractal():
    images = keras.Input((4,))
    column = DropPathColumn(2)(images)
    paths = [keras.layers.Dense(3, name=name)(images) for name in ("deep", "shallow")]
    return keras.Model(images, DropPathJoin()(paths, column=column))


def test_at_inference_all_paths_count_and_nothing_is_random(tmp_path):
    model, images = fractal(), np.ones((2, 4), np.float32)
    expected = np.mean([model.get_layer(name)(images) for name in ("deep", "shallow")], 0)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-6)
    graph = tf.function(lambda images: model(images, training=False)).get_concrete_function(tf.constant(images)).graph
    assert not [node.op for node in graph.as_graph_def().node if "Random" in node.op]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(images), expected, atol=1e-6)


@pytest.mark.parametrize("layer, arguments", [(DropPathJoin, {"rate": 1.0}), (DropPathColumn, {"columns": 0})])
def test_values_out_of_range_are_refused(layer, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}=.*: expected"):
        layer(**arguments)
