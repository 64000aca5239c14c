import dataclasses

import keras
import numpy as np
import pytest

from keras_alexnet import AlexNet
from keras_alexnet.checkpoints import load_trained
from keras_alexnet.networks import main_output_only
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.fine_tuning import InitialWeights
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def two_classes(prepared, tmp_path_factory):
    """The prepared photographs of two of the three classes."""
    directory = tmp_path_factory.mktemp("two") / "classes"
    prepare(open_source(str(prepared)), directory, classes=["green", "red"])
    return directory


def weights(model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def same(ones: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


def test_another_training_is_carried_on_with_new_classes(trained, two_classes, tmp_path):
    config = tiny(two_classes, tmp_path / "run", init_from=str(trained), freeze="conv1,conv2", steps=2)
    train_and_evaluate(config)
    before, after = weights(load_trained(trained)[0]), weights(load_trained(tmp_path / "run")[0])
    assert same(before["conv1"], after["conv1"]) and same(before["conv2"], after["conv2"])
    for name in ("conv3", "conv4", "conv5", "fc6", "fc7"):
        assert not same(before[name], after[name])
        # Two small steps away from where it started: not a new draw.
        assert np.corrcoef(before[name][0].ravel(), after[name][0].ravel())[0, 1] > 0.99, name
    assert after["fc8"][0].shape[-1] == 2
    # The preprocessing that the weights expect comes with them.
    mean = load_trained(trained)[0].get_layer("mean_subtraction").mean
    np.testing.assert_array_equal(RunDirectory(tmp_path / "run").mean, mean)


@pytest.mark.slow
def test_an_interrupted_fine_tuning_goes_on_as_if_it_had_not_been(trained, two_classes, tmp_path):
    recipe = {"init_from": str(trained), "freeze": "conv1", "lr_multipliers": "fc8=10", "epochs": 2}
    train_and_evaluate(tiny(two_classes, tmp_path / "whole", **recipe))
    train_and_evaluate(tiny(two_classes, tmp_path / "parts", **recipe, steps=3))
    train_and_evaluate(tiny(two_classes, tmp_path / "parts", **recipe))
    whole, parts = (weights(load_trained(tmp_path / name)[0]) for name in ("whole", "parts"))
    assert all(same(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_a_file_of_weights_can_be_the_start(photographs, tmp_path):
    model = AlexNet("caffe", width=1 / 16, classes=5)
    path = tmp_path / "start.weights.h5"
    model.save_weights(path)
    config = tiny(photographs, tmp_path / "run", network="caffe", init="paper", init_from=str(path), steps=1)
    train_and_evaluate(dataclasses.replace(config, learning_rate=0.0))
    trained_model, description, _ = load_trained(tmp_path / "run")
    before, after = weights(model), weights(trained_model)
    assert all(same(before[name], after[name]) for name in before if name != "fc8")
    # What the published weights of this variant expect, not the mean of a few photographs.
    np.testing.assert_allclose(trained_model.get_layer("mean_subtraction").mean, (122.679, 116.669, 104.007))
    assert description.resize == "warp"


def test_wrong_settings_are_named(trained, two_classes, tmp_path):
    def refused(says: str, **settings):
        with pytest.raises(ValueError, match=says):
            train_and_evaluate(
                tiny(two_classes, tmp_path / "run", **{"init_from": str(trained), "steps": 1} | settings)
            )

    refused("init_from=nowhere: no such path", init_from="nowhere")
    refused("network=caffe: expected paper, as in the network of init_from=", network="caffe")
    refused("width=0.125: expected 0.0625", width=0.125)
    refused("freeze=conv9: expected layers with weights: conv1, ", freeze="conv9")
    refused(
        "freeze=.*: expected at least one layer that is trained", freeze="conv1,conv2,conv3,conv4,conv5,fc6,fc7,fc8"
    )
    refused("lr_multipliers=fc8: found 'fc8'; expected layer=number", lr_multipliers="fc8")
    refused("lr_multipliers=fc8=-1: found 'fc8=-1'; expected a number of at least 0", lr_multipliers="fc8=-1")
    refused("lr_multipliers=conv1=2: found conv1, which is frozen", lr_multipliers="conv1=2", freeze="conv1")


@pytest.mark.slow
def test_a_run_cannot_change_what_it_started_from(trained, two_classes, tmp_path):
    train_and_evaluate(tiny(two_classes, tmp_path / "run", steps=1))
    with pytest.raises(ValueError, match=r"init_from=.*: the run in .* was started with None"):
        train_and_evaluate(tiny(two_classes, tmp_path / "run", init_from=str(trained), steps=2))


def with_head(classes, image_size=16, classifier_activation="softmax"):
    """A network with an auxiliary head."""
    images = keras.Input((image_size, image_size, 3))
    maps = keras.layers.Conv2D(2, 3, strides=4, name="conv")(images)
    features = keras.layers.GlobalAveragePooling2D()(maps)
    hidden = keras.layers.Dense(4, name="aux_hidden")(features)
    head = keras.layers.Dense(classes, classifier_activation, name="aux")(hidden)
    return keras.Model(images, [keras.layers.Dense(classes, classifier_activation, name="main")(features), head])


def test_a_file_without_auxiliary_heads_is_a_start_for_a_network_with_them(tmp_path):
    """As `convert` writes it."""
    main_output_only(with_head(3)).save_weights(tmp_path / "w.weights.h5")
    model = with_head(5)
    before = weights(model)
    InitialWeights(str(tmp_path / "w.weights.h5"), None, None).apply(model, TrainingConfig(network="x:with_head"))
    after = weights(model)
    assert [name for name in after if not same(before[name], after[name])] == ["conv"]
