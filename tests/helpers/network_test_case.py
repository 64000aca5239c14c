"""The test that every network passes: build, fit one step, save, load, export, query."""

from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet import VARIANTS, export_model, networks
from tests.helpers.image_files import encode, photograph

CLASS_NAMES = ("ant", "bee", "cat")


def check_network(folder: Path, name: str, image_size: int | None = None, **options: Any) -> None:
    """Takes a network through its life, without the exporter's check in a fresh process, which has its own tests."""
    keras.utils.set_random_seed(0)
    model = networks.create(name, classes=len(CLASS_NAMES), image_size=image_size, **options)
    size = image_size or networks.find(name).image_size
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    assert model.input_shape == (None, size, size, 3)
    _check_fit(model, images)
    loaded = _check_save(folder, model, images)
    if name in VARIANTS:
        _check_export(folder, loaded)
    else:
        _check_export(folder, loaded, preprocessing="none", from_logits=False)


def _check_fit(model: keras.Model, images: np.ndarray) -> None:
    before = [np.array(weight) for weight in model.trainable_weights]
    model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    loss = model.train_on_batch(images, np.array([0, 1]))
    assert np.isfinite(loss)
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.trainable_weights, strict=True))


def _check_save(folder: Path, model: keras.Model, images: np.ndarray) -> keras.Model:
    probabilities = model.predict_on_batch(images)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(images), probabilities, atol=1e-6)
    return loaded


def _check_export(folder: Path, model: keras.Model, **arguments: Any) -> None:
    with mock.patch("keras_alexnet.saved_model.export.verify_export"):
        path = export_model(model, folder / "export", CLASS_NAMES, **arguments)
    signatures = tf.saved_model.load(path).signatures
    files = tf.constant([encode(photograph(seed=1)), b"not an image"])
    assert not _random_operations(signatures["serving_default"].graph)
    for signature in ("serving_default", "center_crop"):
        answer = {key: value.numpy() for key, value in signatures[signature](image_bytes=files).items()}
        assert answer["valid"].tolist() == [True, False]
        np.testing.assert_allclose(answer["probabilities"].sum(-1), [1, 0], atol=1e-5)
        assert answer["classes"][0, 0] == answer["probabilities"][0].argmax()
        assert answer["labels"][0, 0].decode() == CLASS_NAMES[answer["classes"][0, 0]]
    (side,) = {dimension for dimension in signatures["images"].inputs[0].shape[1:3]}
    answer = signatures["images"](images=tf.zeros([1, side, side, 3], tf.uint8))
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(-1), [1], atol=1e-5)
    features = signatures["features"](image_bytes=files)["features"].numpy()
    assert features.ndim == 2 and not features[1].any()


def _random_operations(graph: tf.Graph) -> set[str]:
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return {node.op for node in nodes if "Random" in node.op}
