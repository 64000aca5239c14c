"""Classifiers of keras-hub by class and by preset, without a download."""

import json
import sys

import keras
import numpy as np
import pytest

from keras_alexnet import load_network, networks
from keras_alexnet.weights import load_weights_by_name
from tests.helpers.network_test_case import check_network

RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 8],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
}
VIT = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}


def test_without_keras_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(
        ValueError, match=r"network=keras_hub.None1: needs keras-hub: pip install 'keras-alexnet\[hub\]'"
    ):
        networks.find("keras_hub.None1")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """keras-hub, with an empty cache and without a network."""
    library = pytest.importorskip("keras_hub")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kagglehub.model_download", None)
    networks.registry._hub_classifier.cache_clear()
    return library


def resnet(hub, classes=3):
    backbone = hub.models.ResNetBackbone(**RESNET, image_shape=(None, None, 3))
    return hub.models.ResNetImageClassifier(backbone=backbone, num_classes=classes, preprocessor=None)


def save_preset(task, folder, converter=None):
    """The files of a preset that matter here, as keras-hub writes them."""
    folder.mkdir(parents=True)
    saved = keras.saving.serialize_keras_object(task.backbone)
    (folder / "config.json").write_text(json.dumps(saved))
    if converter:
        (folder / "image_converter.json").write_text(json.dumps({"config": converter}))
    task.save_weights(folder / "task.weights.h5")


@pytest.mark.medium
@pytest.mark.subprocess
def test_a_class_takes_the_arguments_of_its_backbone(hub, tmp_path):
    check_network(tmp_path, "keras_hub.ViTImageClassifier", image_size=16, **VIT)
    with pytest.raises(
        ValueError, match=r"depth=3: keras_hub.ViTImageClassifier has no such option; it accepts .*mlp_dim"
    ):
        networks.create("keras_hub.ViTImageClassifier", depth=3)
    with pytest.raises(
        ValueError, match=r"network=keras_hub.ViTImageClassifier: cannot be built with no options at 224"
    ):
        networks.create("keras_hub.ViTImageClassifier")


@pytest.mark.medium
def test_a_preset_of_the_cache_or_a_directory_is_the_classifier_of_keras_hub(hub, tmp_path):
    task = resnet(hub)
    converter = {"image_size": [48, 48], "scale": [0.02, 0.02, 0.04], "offset": [-2.0, -1.0, -2.0]}
    save_preset(task, tmp_path / "mine", converter)
    handle = hub.models.ImageClassifier.presets["resnet_18_imagenet"]["kaggle_handle"].removeprefix("kaggle://")
    save_preset(task, tmp_path / "cache" / "models" / handle, converter)
    images = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype(np.float32)
    expected = task(images * np.float32(converter["scale"]) + np.float32(converter["offset"]))
    for name in ("keras_hub.resnet_18_imagenet", f"keras_hub.{tmp_path / 'mine'}"):
        model = networks.create(name, 3, classifier_activation=None)
        assert model.input_shape == (None, 48, 48, 3)
        load_weights_by_name(model, tmp_path / "mine" / "task.weights.h5")
        np.testing.assert_allclose(model(images), expected, rtol=1e-4, atol=1e-5)
    loaded = load_network(tmp_path / "mine" / "task.weights.h5", network="keras_hub.resnet_18_imagenet", classes=3)
    np.testing.assert_allclose(loaded.model(images), expected, rtol=1e-4, atol=1e-5)
    # Other classes: all but the classifier.
    fresh = networks.create("keras_hub.resnet_18_imagenet", 5)
    load_weights_by_name(fresh, tmp_path / "mine" / "task.weights.h5", skip=["predictions"])
    kernels = (each.get_layer("features").get_weights()[0] for each in (fresh, loaded.model))
    np.testing.assert_array_equal(*kernels)


def test_a_preset_that_is_not_on_this_machine_is_not_downloaded(hub):
    with pytest.raises(
        ValueError, match=r"network=keras_hub.resnet_18_imagenet: expected keras_hub.<class>, one of .*downloaded"
    ):
        networks.find("keras_hub.resnet_18_imagenet")


def test_a_damaged_preset_is_one_line(hub, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: .*expected a preset of keras-hub"):
        networks.find(f"keras_hub.{tmp_path}")
    (tmp_path / "config.json").write_text('{"registered_name": "keras_hub>BertBackbone", "config": {}}')
    with pytest.raises(ValueError, match="keras-hub has no classifier with the backbone BertBackbone"):
        networks.find(f"keras_hub.{tmp_path}")
