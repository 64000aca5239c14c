"""Classifiers of keras-hub by class and by preset, without a download."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import load_network, networks
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.fine_tuning import find_initial_weights
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
# The smallest backbone of each classifier, by the name of the classifier without "ImageClassifier".
BACKBONES = {
    "CSPNet": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 1],
        "stackwise_strides": [1, 2],
        "stackwise_num_filters": [8, 16],
        "block_type": "dark_block",
        "stage_type": "dark",
    },
    "DeiT": {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8},
    "DenseNet": {"stackwise_num_repeats": [1, 1], "growth_rate": 4},
    "EfficientNet": {
        "stackwise_width_coefficients": [1.0, 1.0],
        "stackwise_depth_coefficients": [1.0, 1.0],
        "stackwise_kernel_sizes": [3, 3],
        "stackwise_num_repeats": [1, 1],
        "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 8],
        "stackwise_expansion_ratios": [1, 2],
        "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
        "stackwise_strides": [1, 2],
        "stackwise_block_types": ["v1", "v1"],
    },
    "HGNetV2": {
        "depths": [1, 1],
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": False,
        "stackwise_stage_filters": [(8, 8, 8, 1, 1, 3), (8, 8, 16, 1, 1, 3)],
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, False],
    },
    "MiT": {
        "layerwise_depths": [1, 1],
        "num_layers": 2,
        "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [2, 1],
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "hidden_dims": [8, 8],
    },
    "MobileNet": {
        "stackwise_expansion": [[8, 8]],
        "stackwise_num_blocks": [2],
        "stackwise_num_filters": [[8, 8]],
        "stackwise_kernel_size": [[3, 3]],
        "stackwise_num_strides": [[2, 1]],
        "stackwise_se_ratio": [[0.25, 0.25]],
        "stackwise_activation": [["relu", "relu"]],
        "stackwise_padding": [[1, 1]],
        "output_num_filters": 16,
        "depthwise_filters": 8,
        "depthwise_stride": 1,
        "depthwise_residual": False,
        "last_layer_filter": 8,
        "squeeze_and_excite": 0.5,
    },
    "MobileNetV5": {
        "stackwise_block_types": [["er"], ["uir"]],
        "stackwise_num_blocks": [1, 1],
        "stackwise_num_filters": [[8], [16]],
        "stackwise_strides": [[2], [2]],
        "stackwise_act_layers": [["relu"], ["relu"]],
        "stackwise_exp_ratios": [[2.0], [2.0]],
        "stackwise_se_ratios": [[0.0], [0.0]],
        "stackwise_dw_kernel_sizes": [[0], [3]],
        "stackwise_dw_start_kernel_sizes": [[0], [0]],
        "stackwise_dw_end_kernel_sizes": [[0], [0]],
        "stackwise_exp_kernel_sizes": [[3], [0]],
        "stackwise_pw_kernel_sizes": [[1], [0]],
        "stackwise_num_heads": [[0], [0]],
        "stackwise_key_dims": [[0], [0]],
        "stackwise_value_dims": [[0], [0]],
        "stackwise_kv_strides": [[0], [0]],
        "stackwise_use_cpe": [[False], [False]],
        "use_msfa": False,
    },
    "ResNet": RESNET,
    "SwinTransformer": {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4},
    "VGG": {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 8]},
    "ViT": VIT,
    "Xception": {"stackwise_conv_filters": [[8, 8], [8, 8]], "stackwise_pooling": [True, False]},
}
CLASSIFIERS = {
    "VGG": {"pooling_hidden_dim": 16, "pooling": "flatten"},
    "ResNet": {"pooling": "max"},
    "MobileNet": {"num_features": 16},
    "MobileNetV5": {"head_hidden_size": 16},
}


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
    """A preset as keras-hub writes it."""
    task.save_to_preset(str(folder))
    if converter:
        (folder / "image_converter.json").write_text(json.dumps({"config": converter}))


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
    task, folder = resnet(hub), tmp_path / "mine"
    converter = {"image_size": [48, 48], "scale": [0.02, 0.02, 0.04], "offset": [-2.0, -1.0, -2.0]}
    save_preset(task, folder, converter)
    handle = hub.models.ImageClassifier.presets["resnet_18_imagenet"]["kaggle_handle"].removeprefix("kaggle://")
    save_preset(task, tmp_path / "cache" / "models" / handle, converter)
    images = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype(np.float32)
    expected = task(images * np.float32(converter["scale"]) + np.float32(converter["offset"]))
    task.save_weights(tmp_path / "one.weights.h5")
    for name in ("keras_hub.resnet_18_imagenet", f"keras_hub.{folder}"):
        model = networks.create(name, 3, classifier_activation=None)
        assert model.input_shape == (None, 48, 48, 3)
        load_weights_by_name(model, tmp_path / "one.weights.h5")
        np.testing.assert_allclose(model(images), expected, rtol=1e-4, atol=1e-5)
    for loaded in (
        load_network(folder),
        load_network(folder, network="keras_hub.resnet_18_imagenet"),
        load_network(tmp_path / "one.weights.h5", network="keras_hub.resnet_18_imagenet", classes=3),
    ):
        assert loaded.from_logits
        np.testing.assert_allclose(loaded.model(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"classes=3: not accepted for .*mine, because the preset contains it"):
        load_network(folder, classes=3)


@pytest.mark.medium
def test_training_starts_from_the_weights_of_a_preset_with_other_classes(hub, tmp_path):
    save_preset(resnet(hub), tmp_path / "mine")
    expected = load_network(tmp_path / "mine", image_size=32).model.get_layer("features").get_weights()
    network = networks.find(f"keras_hub.{tmp_path / 'mine'}")
    config = TrainingConfig(model_dir="-", dataset="-", network=network.name, image_size=32)
    for files in ("backbone and classifier", "backbone"):
        if files == "backbone":
            (tmp_path / "mine" / "task.weights.h5").unlink()
        model = networks.create(network.name, 5, image_size=32)
        find_initial_weights(str(tmp_path / "mine"), network, config).apply(model, config)
        for got, wanted in zip(model.get_layer("features").get_weights(), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ValueError, match=r"path=.*mine: found no task.weights.h5; expected a preset .* with a class"):
        load_network(tmp_path / "mine")


@pytest.mark.medium
@pytest.mark.parametrize("folder", ["mine", "_über dir", "..a"])
def test_the_directory_of_a_preset_may_have_any_name(hub, tmp_path, folder):
    save_preset(resnet(hub), tmp_path / folder)
    model = load_network(tmp_path / folder, image_size=32).model
    # As in a training step, where the name becomes a scope.
    assert tf.function(model)(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_preset_of_every_classifier_of_keras_hub_loads(hub, tmp_path, name):
    task = getattr(hub.models, f"{name}ImageClassifier")
    shape = {"input_shape" if name == "EfficientNet" else "image_shape": (32, 32, 3)}
    backbone = task.backbone_cls(**BACKBONES[name], **shape)
    options = CLASSIFIERS.get(name, {})
    task = task(backbone=backbone, num_classes=3, preprocessor=None, **options)
    save_preset(task, tmp_path / "preset")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    loaded = load_network(tmp_path / "preset")
    expected = task((images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    np.testing.assert_allclose(loaded.model(images), expected, rtol=1e-4, atol=1e-5)


def test_the_classifiers_above_are_all_that_keras_hub_has(hub):
    kinds = [kind for kind in vars(hub.models).values() if isinstance(kind, type)]
    names = {kind.__name__ for kind in kinds if issubclass(kind, hub.models.ImageClassifier) and kind.backbone_cls}
    assert names == {f"{name}ImageClassifier" for name in BACKBONES}


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
