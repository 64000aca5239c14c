import time

import numpy as np
import pytest

import keras_alexnet
from keras_alexnet import evaluation_dataset, training_dataset
from pipelines.datasets.registry import open_source
from pipelines.input import training_batches
from tests.helpers.tiny_training import write_photographs

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    directory = tmp_path_factory.mktemp("datasets")
    write_photographs(directory / "train", 6, seed=0)
    write_photographs(directory / "val", 2, seed=1)
    (directory / "val" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    return f"folder:{directory}"


def first_images(dataset):
    return next(iter(dataset))[0].numpy()


def test_each_iteration_is_an_epoch_with_new_crops(prepared):
    train = training_dataset(str(prepared), batch_size=8, seed=3)
    assert train.class_names == ["blue", "green", "red"] and len(train) == 3
    epochs = [[(images.numpy(), labels.numpy()) for images, labels in train] for _ in range(2)]
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])
    source = open_source(str(prepared))
    for number, epoch in enumerate(epochs):
        expected = training_batches(source, source.statistics, batch_size=8, seed=3, epoch=number)
        for (images, labels), (found, found_labels) in zip(expected, epoch, strict=True):
            np.testing.assert_allclose(found, images, atol=1e-3)
            np.testing.assert_array_equal(found_labels, labels)


def test_an_interrupted_epoch_is_repeated_and_a_later_one_can_be_the_start(prepared):
    train = training_dataset(str(prepared), batch_size=4)
    first = first_images(train)
    np.testing.assert_array_equal(first_images(train), first)
    for _ in train:
        pass
    second = first_images(train)
    np.testing.assert_array_equal(first_images(training_dataset(str(prepared), batch_size=4, start_epoch=1)), second)
    assert not np.array_equal(first_images(training_dataset(str(prepared), batch_size=4, seed=1)), first)


@pytest.mark.parametrize("batch_size", [4, pytest.param(9, marks=pytest.mark.slow)])
def test_batches_that_are_read_ahead_do_not_end_an_epoch(prepared, batch_size):
    train = training_dataset(str(prepared), batch_size=batch_size)
    first = first_images(train)
    for _ in range(3):
        iterator = iter(train)
        next(iterator)
        time.sleep(0.2)
        np.testing.assert_array_equal(first_images(train), first)


def test_fit_draws_new_crops_and_a_resumed_fit_ends_with_the_same_weights(prepared):
    def trained(*parts):
        model = keras_alexnet.AlexNet(classes=3, width=1 / 32, init="he")
        model.set_weights([np.random.default_rng(0).normal(0, 0.05, w.shape) for w in model.get_weights()])
        for layer in model.layers:
            if "dropout" in layer.name:
                layer.rate = 0.0
        model.compile(keras_alexnet.PaperSGD(0.001), "sparse_categorical_crossentropy")
        for start, epochs in parts:
            train = training_dataset(str(prepared), batch_size=8, start_epoch=start)
            model.fit(train, initial_epoch=start, epochs=epochs, verbose=0)
        return model.get_weights()

    whole, resumed = trained((0, 3)), trained((0, 1), (1, 3))
    for expected, found in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_validation_images_are_centre_crops_and_broken_ones_do_not_count(folder):
    batches = list(evaluation_dataset(folder, batch_size=4))
    images = np.concatenate([batch[0] for batch in batches])
    weights = np.concatenate([batch[2] for batch in batches])
    assert images.shape == (7, 224, 224, 3) and images.dtype == np.float32 and images.max() > 100
    assert sorted(weights.tolist()) == [0.0] + [1.0] * 6


def test_a_fraction_of_the_training_images_is_held_out(folder, tmp_path):
    write_photographs(tmp_path / "train", 10, seed=0)
    options = {"batch_size": 3, "validation_fraction": 0.2}
    assert len(training_dataset(f"folder:{tmp_path}", **options)) == 24 // 3
    assert sum(len(batch[1]) for batch in evaluation_dataset(f"folder:{tmp_path}", **options)) == 6


def test_a_batch_larger_than_the_dataset_is_refused(folder):
    with pytest.raises(ValueError, match="batch_size=100"):
        training_dataset(folder, batch_size=100)


@pytest.mark.parametrize("variant", ["caffe", "caffenet"])
def test_caffes_variants_subtract_the_crop_of_the_mean_image(photographs, variant):
    mean = np.zeros((227, 227, 3), np.float32)
    batch, labels = next(iter(training_dataset(f"folder:{photographs}", batch_size=4, variant=variant, mean=mean)))
    assert batch.shape == (4, 227, 227, 3) and labels.shape == (4,)
    # The statistics' mean image has been subtracted, and zeros added.
    assert -255 < np.min(batch) < 0 < np.max(batch) < 255


def test_epochs_are_counted_from_zero(photographs):
    with pytest.raises(ValueError, match=r"^start_epoch=-1: expected a number that is not negative"):
        training_dataset(f"folder:{photographs}", batch_size=4, start_epoch=-1)
