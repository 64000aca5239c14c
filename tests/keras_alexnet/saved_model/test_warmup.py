import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.pretrained import LoadedNetwork
from keras_alexnet.saved_model.warmup import probes
from keras_alexnet.ten_crop import crop_probabilities
from serving import signatures as wire


def test_expected_predictions_come_from_one_crop_at_a_time():
    """Outside a graph, Keras keeps the outputs of all layers of a call."""
    keras.utils.set_random_seed(0)
    batches = []

    class Recorder(keras.layers.Layer):
        def call(self, images):
            batches.append(images.shape[0])
            return images

    layers = [keras.Input((56, 56, 3)), Recorder(), keras.layers.Conv2D(4, 5, 4), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])
    batches.clear()
    logs = probes(LoadedNetwork("", model, resized_size=64), "name", 1_000_000)
    assert batches[:22] == [1] * 22

    request, response = logs[-1].predict_log.request, logs[-1].predict_log.response
    images = tf.make_ndarray(request.inputs[wire.INPUT_IMAGES])
    found = tf.make_ndarray(response.outputs[wire.OUTPUT_PROBABILITIES])
    np.testing.assert_allclose(found, crop_probabilities(model, images, from_logits=False), atol=1e-6)
