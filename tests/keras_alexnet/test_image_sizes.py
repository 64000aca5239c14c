"""Networks of other image sizes, from prepared images to served predictions."""

import keras
import numpy as np
import pytest

from keras_alexnet import evaluation_dataset, export_model, networks, training_dataset
from keras_alexnet.evaluate import evaluate
from keras_alexnet.model import AlexNet
from keras_alexnet.pretrained import load_network
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.ten_crop import crop_probabilities
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare

pytestmark = pytest.mark.medium

NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def prepared(photographs, tmp_path_factory):
    """Function from a size to a prepared directory of images of that size."""
    directories = {}

    def directory(size: int) -> str:
        if size not in directories:
            directories[size] = str(tmp_path_factory.mktemp("prepared") / str(size))
            prepare(open_source(f"folder:{photographs}"), directories[size], size=size)
        return directories[size]

    return directory


def config(dataset: str, model_dir, **changes) -> TrainingConfig:
    settings = {"width": 1 / 32, "init": "he", "batch_size": 8, "epochs": 1, "schedule": "constant"}
    return TrainingConfig(dataset, str(model_dir), **settings | changes)


@pytest.mark.slow
def test_a_run_on_images_of_240_pixels_is_evaluated_and_exported_at_that_size(prepared, tmp_path, unchecked, capsys):
    dataset = prepared(240)
    train_and_evaluate(config(dataset, tmp_path / "run"))
    assert "crops of 224 pixels are taken from images of 240, not 256" in capsys.readouterr().out
    assert RunDirectory(tmp_path / "run").config.resized_size == 240
    network = load_network(tmp_path / "run")
    assert network.resized_size == 240
    # A .keras file keeps it.
    network.model.save(tmp_path / "model.keras")
    assert load_network(tmp_path / "model.keras").resized_size == 240
    path = export_model(network.model, tmp_path / "export", NAMES)
    exported = load_network(path)
    assert exported.resized_size == 240
    images = np.random.default_rng(0).integers(0, 256, (2, 240, 240, 3), np.uint8)
    expected = crop_probabilities(network.model, images, "ten", from_logits=True).numpy()
    served = exported.signatures["images"](images=images)["probabilities"].numpy()
    np.testing.assert_allclose(served, expected, atol=1e-6)
    rates = [evaluate(loaded, dataset, crops="ten") for loaded in (network, exported)]
    assert [rate.images for rate in rates] == [9, 9]
    assert rates[0].loss == pytest.approx(rates[1].loss, rel=1e-4)


@pytest.mark.medium
def test_a_keras_file_of_another_network_keeps_the_size_of_the_resized_images(prepared, tmp_path):
    train_and_evaluate(config(prepared(40), tmp_path / "run", network="lenet5", width=1.0, init="paper", steps=1))
    run = load_network(tmp_path / "run")
    assert (run.resized_size, networks.find("lenet5").resize_size) == (40, 32)
    run.model.save(tmp_path / "model.keras")
    loaded = load_network(tmp_path / "model.keras", preprocessing="none", from_logits=True)
    assert (loaded.resize, loaded.resized_size) == (run.resize, 40)


def test_images_smaller_than_those_of_the_network_are_refused(prepared, tmp_path):
    dataset = prepared(32)
    expected = r"^dataset=.*: its images have 32 pixels, fewer than the 224 that paper reads; prepare it with size=256"
    with pytest.raises(ValueError, match=expected):
        train_and_evaluate(config(dataset, tmp_path / "run"))
    assert not (tmp_path / "run" / "model.json").exists()
    for make in (training_dataset, evaluation_dataset):
        with pytest.raises(ValueError, match=r"^crop_size=224: larger than the images of .*, which have 32 pixels"):
            make(dataset, batch_size=4)
    model = AlexNet(classes=3, width=1 / 32, classifier_activation=None)
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"^crop_size=224: larger"):
        evaluate(load_network(tmp_path / "model.keras"), dataset)


# Crops of 24, and of all of the image.
@pytest.mark.parametrize("name", ["convnet_13pct", pytest.param("figure1_convnet", marks=pytest.mark.slow)])
def test_small_networks_are_exported_at_their_own_size(name, prepared, tmp_path, unchecked):
    resize_size = networks.find(name).resize_size
    model = networks.create(name, classes=3, classifier_activation=None)
    model.save(tmp_path / "small.keras")
    loaded = load_network(tmp_path / "small.keras", preprocessing="none", from_logits=True)
    assert loaded.resized_size == resize_size == 32
    options = {"preprocessing": "none", "from_logits": True, "resize_size": resize_size}
    path = export_model(model, tmp_path / "export", NAMES, **options)
    exported = load_network(path)
    images = np.random.default_rng(0).integers(0, 256, (3, resize_size, resize_size, 3), np.uint8)
    expected = crop_probabilities(model, images, "ten", from_logits=True).numpy()
    served = exported.signatures["images"](images=images)["probabilities"].numpy()
    np.testing.assert_allclose(served, expected, atol=1e-6)
    assert evaluate(exported, prepared(32), crops="center").images == 9


def test_an_export_refuses_a_size_smaller_than_its_crops_and_another_policy(tmp_path):
    layers = [keras.Input((64, 64, 3)), keras.layers.AveragePooling2D(8), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(3)])
    options = {"preprocessing": "none", "from_logits": True}
    with pytest.raises(ValueError, match=r"^resize_size=48: expected at least the 64 pixels"):
        export_model(model, tmp_path, NAMES, resize_size=48, **options)
    with pytest.raises(ValueError, match=r"^resize=squash: expected one of"):
        export_model(model, tmp_path, NAMES, resize="squash", **options)
    alexnet = AlexNet(classes=3, width=1 / 32)
    with pytest.raises(ValueError, match=r"^resize=warp: alexnet_paper contains its own, shorter_side"):
        export_model(alexnet, tmp_path, NAMES, resize="warp")


def test_fit_reads_prepared_images_of_any_size(prepared):
    images, _ = next(iter(training_dataset(prepared(240), batch_size=4, augmentation="random_resized")))
    assert images.shape == (4, 224, 224, 3)
    images, _, weights = next(iter(evaluation_dataset(prepared(240), batch_size=9)))
    assert images.shape == (9, 224, 224, 3)
    assert weights.numpy().all()
