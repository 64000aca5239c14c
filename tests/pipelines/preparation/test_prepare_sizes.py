"""Prepared directories of images that are not 256 pixels wide."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.contact_sheet import contact_sheet
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.images.decode import decode_rgb
from pipelines.images.resized import resized_pixels
from pipelines.input import evaluation_batches, training_batches
from pipelines.preparation.compute_statistics import compute_statistics
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import image_folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return image_folder(tmp_path_factory.mktemp("folder") / "images")


@pytest.fixture(scope="module", params=[32, 100])
def prepared(request, images, tmp_path_factory) -> Source:
    directory = tmp_path_factory.mktemp("prepared") / str(request.param)
    prepare(open_source(f"folder:{images}"), directory, size=request.param)
    return open_source(str(directory))


def stored(source: Source, split: str) -> dict[str, np.ndarray]:
    return {key: decode_rgb(tf.constant(encoded)).numpy() for encoded, _, key in source.examples(split)}


@pytest.mark.medium
def test_the_size_is_that_of_the_records_the_summary_and_the_statistics(prepared):
    size = prepared.size
    encoding = {32: "png", 100: "jpeg"}[size]
    summary = json.loads(Path(prepared.name, "summary.json").read_text())
    assert (summary["size"], summary["encoding"], prepared.encoding) == (size, encoding, encoding)
    image = tfds.builder_from_directory(prepared.name).info.features["image"]
    assert (image.shape, image.encoding_format) == ((size, size, 3), encoding)
    pixels = np.stack(list(stored(prepared, "train").values())).astype(np.float64)
    assert pixels.shape[1:] == (size, size, 3)
    np.testing.assert_allclose(prepared.statistics.mean_image, pixels.mean(axis=0), rtol=1e-6)
    covariance = np.cov(pixels.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(prepared.statistics.rgb_covariance, covariance, rtol=1e-9)
    np.testing.assert_array_equal(compute_statistics(prepared)[0].mean_image, prepared.statistics.mean_image)


def test_images_of_32_pixels_are_those_of_the_folder_without_loss(prepared, images):
    if prepared.encoding == "jpeg":
        pytest.skip("with loss")
    for key, pixels in stored(prepared, "validation").items():
        np.testing.assert_array_equal(pixels, resized_pixels((images / key).read_bytes(), size=32))


@pytest.mark.parametrize("augmentation", ["crop", "pad4", "random_resized"])
@pytest.mark.medium
def test_training_reads_crops_of_the_prepared_images(prepared, augmentation):
    options = {"batch_size": 4, "crop_size": 24, "augmentation": augmentation, "color_augmentation": "none"}
    (images, _), *_ = training_batches(prepared, prepared.statistics, **options).as_numpy_iterator()
    assert images.shape == (4, 24, 24, 3)
    if augmentation == "crop":
        originals = [array.astype(np.float32) for array in stored(prepared, "train").values()]
        windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(o, (24, 24, 3)) for o in originals])
        for image in images:
            flips = (image, image[:, ::-1])
            assert any((windows == flip).all(axis=(-1, -2, -3)).any() for flip in flips)


@pytest.mark.medium
def test_evaluation_reads_the_prepared_images_as_they_are_or_resized(prepared):
    expected = stored(prepared, "validation")
    images, _, valid, keys = next(iter(evaluation_batches(prepared, "validation", batch_size=99, size=prepared.size)))
    assert valid.numpy().all()
    for image, key in zip(images.numpy(), keys.numpy(), strict=True):
        np.testing.assert_array_equal(image, expected[key.decode()])
    resized, *_ = next(iter(evaluation_batches(prepared, "validation", batch_size=99, size=48)))
    assert resized.shape[1:] == (48, 48, 3)


def test_crops_larger_than_the_images_are_refused_in_one_line(prepared):
    with pytest.raises(
        ValueError, match=rf"^crop_size=224: .* which have {prepared.size} pixels; prepare it with size"
    ):
        training_batches(prepared, prepared.statistics, batch_size=4)


@pytest.mark.medium
def test_the_contact_sheet_shows_small_images_enlarged(prepared):
    sheet = contact_sheet(prepared)
    assert sheet.width == 8 + 6 * ({32: 128, 100: 100}[prepared.size] + 8)


def test_a_summary_that_contradicts_the_statistics_is_refused(prepared, tmp_path):
    for path in Path(prepared.name).iterdir():
        (tmp_path / path.name).symlink_to(path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").unlink()
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"size": 48}))
    with pytest.raises(ValueError, match=f"summary.json says 48 pixels, statistics.npz {prepared.size}"):
        open_source(str(tmp_path))


def test_a_size_of_nothing_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match=r"^size=0: expected at least 1 pixel"):
        prepare(open_source(f"folder:{images}"), tmp_path / "out", size=0)
