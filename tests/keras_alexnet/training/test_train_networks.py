"""Training of networks that are not AlexNets: one path from the registry to the export."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import export_model, load_network
from keras_alexnet.checkpoints import load_trained
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.context import create_context
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from tests.helpers.tiny_training import tiny

NETWORK = f"{__name__}:small"


def small(classes, image_size=32, classifier_activation="softmax", filters=4, rate=0.5):
    """Batch normalization, dropout of Keras, and two heads of which the second is auxiliary."""
    images = keras.Input((image_size, image_size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(images)
    maps = keras.layers.Conv2D(filters, 3, strides=4, use_bias=False)(scaled)
    maps = keras.layers.ReLU()(keras.layers.BatchNormalization()(maps))
    features = keras.layers.Dropout(rate)(keras.layers.GlobalAveragePooling2D()(maps))
    main = keras.layers.Dense(classes, activation=classifier_activation)(features)
    auxiliary = keras.layers.Dense(classes, activation=classifier_activation)(keras.layers.Flatten()(maps))
    return keras.Model(images, [main, auxiliary])


def config(prepared, model_dir, **changes):
    options = {"network": NETWORK, "width": 1.0, "init": "paper", "learning_rate": 0.01, "epochs": 2}
    return tiny(prepared, model_dir, **options | changes)


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The run directory of an uninterrupted run."""
    model_dir = tmp_path_factory.mktemp("networks") / "whole"
    train_and_evaluate(config(prepared, model_dir))
    return model_dir


@pytest.mark.medium
def test_a_run_cut_in_two_equals_one_that_was_not(prepared, whole, tmp_path):
    for steps in (4, None):
        train_and_evaluate(config(prepared, tmp_path / "parts", steps=steps))
    assert (tmp_path / "parts" / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    expected, got = load_trained(whole)[0], load_trained(tmp_path / "parts")[0]
    for a, b in zip(expected.get_weights(), got.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def widened(classes, image_size=32, classifier_activation="softmax", width=16, init="glorot_uniform"):
    """A user's function whose parameters are called as options of our networks."""
    pixels = keras.Input((image_size, image_size, 3))
    units = keras.layers.Dense(width, kernel_initializer=init)(keras.layers.GlobalAveragePooling2D()(pixels))
    return keras.Model(pixels, keras.layers.Dense(classes, activation=classifier_activation)(units))


@pytest.mark.medium
def test_parameters_of_a_function_have_its_defaults_and_are_set_by_network_options(prepared, tmp_path):
    shared = {"network": f"{__name__}:widened", "width": 1.0, "init": "paper", "steps": 1}
    for name, options, units in (("a", None, 16), ("b", "width=4,init=he_normal", 4)):
        train_and_evaluate(config(prepared, tmp_path / name, **shared | {"network_options": options}))
        assert load_trained(tmp_path / name)[0].layers[-1].kernel.shape[0] == units


@pytest.mark.medium
def test_statistics_of_batch_normalization_are_trained_and_loaded(whole):
    model = load_network(whole).model
    (normalization,) = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    assert np.abs(normalization.moving_mean.numpy()).max() > 1e-3


@pytest.mark.medium
def test_a_trained_network_is_exported_without_its_auxiliary_head_and_without_random_operations(
    whole, tmp_path, unchecked
):
    network = load_network(whole)
    assert len(network.model.outputs) == 1
    path = export_model(
        network.model,
        tmp_path,
        network.class_names,
        preprocessing=network.preprocessing,
        from_logits=network.from_logits,
        resize_size=network.resized_size,
    )
    loaded = tf.saved_model.load(path)
    names = {operation.type for operation in loaded.signatures["serving_default"].graph.get_operations()}
    assert not any("Random" in name for name in names)
    images = np.random.default_rng(0).integers(0, 256, (2, network.resized_size, network.resized_size, 3))
    answer = loaded.signatures["images"](images=tf.constant(images.astype(np.uint8)))
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(-1), 1, atol=1e-5)


@pytest.mark.medium
def test_options_reach_the_network_and_belong_to_the_run(prepared, tmp_path):
    train_and_evaluate(config(prepared, tmp_path / "run", network_options="filters=6,rate=0.0", steps=1))
    assert RunDirectory(tmp_path / "run").config.network_options == {"filters": 6, "rate": 0.0}
    model = load_network(tmp_path / "run").model
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [6]
    with pytest.raises(ValueError, match=r"network_options=.*was started with"):
        train_and_evaluate(config(prepared, tmp_path / "run", network_options="filters=7", steps=2))


class SeenError(Exception):
    pass


@pytest.mark.parametrize(("given", "expected"), [(None, 0.0005), (0.0001, 0.0001), (0.0, 0.0)])
@pytest.mark.medium
def test_the_weight_decay_is_that_of_the_config_or_of_the_network(prepared, tmp_path, monkeypatch, given, expected):
    def loop(context, model, *arguments):
        raise SeenError(model.optimizer.decay)

    monkeypatch.setattr("keras_alexnet.training.train_and_evaluate.TrainingLoop", loop)
    with pytest.raises(SeenError, match=f"^{expected}$"):
        train_and_evaluate(config(prepared, tmp_path, weight_decay=given))
    assert RunDirectory(tmp_path).config.weight_decay == given


@pytest.mark.parametrize(("given", "expected"), [(None, 0.4), (0.25, 0.25), (0.0, 0.0)])
def test_the_weight_of_auxiliary_losses_is_that_of_the_config_or_of_the_network(prepared, tmp_path, given, expected):
    changes = {"network": "inception_v4", "strategy": "single", "aux_loss_weight": given}
    context = create_context(config(prepared, tmp_path, **changes))
    assert context.network.aux_loss_weights == (expected,)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": "resnet_21"}, "network=resnet_21: expected one of paper"),
        ({"network_options": "depth=3"}, r"network_options=depth=3: .* has no such option; it accepts filters, rate"),
        ({"network_options": "width=3"}, "network_options=width=3: .* has no such option"),
        ({"network": "paper", "network_options": "width=3"}, "network_options=width=3: expected options other than w"),
        ({"width": 0.5}, "width=0.5: .* has no such option"),
        ({"init": "he"}, "init=he: .* has no such option"),
        ({"aux_loss_weight": 0.0}, "aux_loss_weight=0.0: .*small trains no auxiliary outputs; expected none"),
    ],
)
def test_what_a_network_does_not_have_is_refused(prepared, tmp_path, changes, says):
    with pytest.raises(ValueError, match=says):
        train_and_evaluate(config(prepared, tmp_path / "run", **changes))


def test_a_run_directory_of_version_0_1_names_a_variant(trained, tmp_path):
    saved = json.loads((trained / "model.json").read_text())
    saved["variant"] = saved.pop("network")
    for name in ("network_options", "image_size", "resized_size"):
        saved.pop(name, None)
    (tmp_path / "model.json").write_text(json.dumps(saved))
    loaded = RunDirectory(tmp_path).config
    assert loaded.network == "paper" and loaded.crop_size == 224 and loaded.size_before_crops == 256
