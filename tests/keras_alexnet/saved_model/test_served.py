"""`served_signatures` and `predict_images`: the predictions of an export, with and without one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import predict_images
from keras_alexnet.pretrained import LoadedNetwork, load_network
from serving import signatures as wire
from tests.helpers import image_files as images
from tests.helpers.tolerance import rounding

from .conftest import NAMES

pytestmark = [pytest.mark.numeric, pytest.mark.medium]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Image files of several shapes, orientations and formats, some of them broken."""
    jpeg = images.encode(images.photograph())
    contents = {
        **{
            f"{number}.jpg": images.encode(images.photograph(90, 80 + number, number), orientation=number)
            for number in (1, 6)
        },
        "large.jpeg": images.encode(images.photograph(500, 300)),
        "photo.png": images.encode(images.photograph(), "PNG"),
        "jpeg_named.png": jpeg,
        "photo.bmp": images.encode(images.photograph(), "BMP"),
        "cut.jpg": jpeg[:200],
        "empty.jpg": b"",
        "text.jpg": b"no image at all",
    }
    folder = images.write_files(tmp_path_factory.mktemp("files"), contents)
    return [folder / name for name in contents] + [folder / "missing.jpg"]


@pytest.fixture(scope="module")
def export(exported):
    return load_network(exported)


@pytest.fixture(scope="module")
def unsaved(model):
    return LoadedNetwork("model", model, from_logits=True, class_names=tuple(NAMES), display_names=tuple(NAMES))


@pytest.fixture(scope="module")
def served(export, files):
    """Name of a signature -> its outputs for the files, those that cannot be read being empty."""
    contents = tf.constant([path.read_bytes() if path.exists() else b"" for path in files])
    names = ("serving_default", "center_crop", "features")
    return {name: export.signatures[name](image_bytes=contents) for name in names}


@pytest.mark.parametrize(
    ("network", "crops", "features"),
    [
        ("export", "ten", True),
        ("unsaved", "ten", True),
        ("export", "center", False),
        pytest.param("unsaved", "center", False, marks=pytest.mark.slow),
    ],
)
def test_predictions_are_those_of_the_served_signature(request, network, files, served, crops, features):
    network = request.getfixturevalue(network)
    name = wire.SIGNATURE_TEN_CROP if crops == "ten" else wire.SIGNATURE_CENTER
    expected = {key: values.numpy() for key, values in served[name].items()}
    predictions = list(predict_images(network, files, crops=crops, top_k=5, features=features, batch_size=4))
    assert [prediction.path for prediction in predictions] == [str(path) for path in files]
    assert [prediction.valid for prediction in predictions] == expected["valid"].tolist()
    assert expected["valid"].sum() == 5
    for index, prediction in enumerate(predictions):
        assert bool(prediction.reason) != prediction.valid and "\n" not in prediction.reason
        if not prediction.valid:
            assert prediction.labels == prediction.classes == prediction.scores == () and prediction.features is None
            continue
        assert prediction.labels == tuple(label.decode() for label in expected["labels"][index])
        np.testing.assert_allclose(prediction.scores, expected["scores"][index], atol=1e-6)
        assert (prediction.features is not None) == features
        if features:
            rows = served[wire.SIGNATURE_FEATURES][wire.OUTPUT_FEATURES].numpy()
            np.testing.assert_allclose(prediction.features, rows[index], atol=rounding(rows[index]))


def test_more_classes_than_the_export_names(export, files):
    (prediction,) = predict_images(export, [files[0].read_bytes()], crops="center", top_k=100)
    assert sorted(prediction.labels) == sorted(NAMES) and prediction.path == ""
    assert list(prediction.scores) == sorted(prediction.scores, reverse=True)
    assert sum(prediction.scores) == pytest.approx(1, abs=1e-5)


def test_a_network_of_another_package():
    inputs = keras.Input((28, 28, 3))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    network = LoadedNetwork(
        "other", keras.Model(inputs, outputs), from_logits=True, preprocessing="tf", resized_size=32
    )
    content = images.encode(images.photograph())
    (prediction,) = predict_images(network, [content], crops="center", features=True)
    assert set(prediction.labels) == {"0", "1", "2"}, "classes without names are called by their numbers"
    assert prediction.features.shape == (3,)


@pytest.mark.parametrize("wrong", [{"crops": "three"}, {"top_k": 0}, {"batch_size": 0}])
def test_wrong_arguments_are_named_at_once(export, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name}="):
        predict_images(export, [], **wrong)


def test_an_export_without_the_signature_is_named():
    network = LoadedNetwork("old", display_names=("a", "b"), signatures={"serving_default": lambda image_bytes: {}})
    with pytest.raises(ValueError, match="crops=center: old has no signature 'center_crop'; found serving_default"):
        predict_images(network, [], crops="center")
