"""`preprocess_input` and `decode_predictions`: what goes into a network, and what comes out of it."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_alexnet import VARIANTS, decode_predictions, preprocess_input

random = np.random.default_rng(0)


def photographs(count, size=224):
    return random.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_preprocess_input_takes_the_centre_of_the_image_with_its_shorter_side_at_256():
    y, x = np.mgrid[0:300, 0:600]
    photograph = np.stack([x * 255 / 600, y * 255 / 300, np.full_like(x, 7)], -1).astype(np.uint8)
    (got,) = preprocess_input(photograph)
    resized = np.asarray(Image.fromarray(photograph).resize((512, 256), Image.Resampling.BILINEAR), np.float32)
    assert got.shape == (224, 224, 3) and got.dtype == np.float32
    assert np.abs(got - resized[16:240, 144:368]).max() <= 1


def test_preprocess_input_of_torchvisions_network_rounds_as_torchvision():
    photograph = np.random.default_rng(0).integers(0, 256, (37, 56, 3)).astype(np.uint8).repeat(9, 0).repeat(9, 1)
    (got,) = preprocess_input(photograph, variant="torchvision")
    # 333 x 504: the longer side becomes int(387.46) = 387, and its margin round(81.5) = 82 (other variants: 81).
    resized = np.asarray(Image.fromarray(photograph).resize((387, 256), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(got - resized[16:240, 82:306]).max() <= 1


def test_preprocess_input_leaves_network_input_alone_and_takes_images_of_any_sizes():
    ready = photographs(2)
    np.testing.assert_array_equal(preprocess_input(ready), ready.astype(np.float32))
    images = [photographs(1, 80)[0], Image.fromarray(photographs(1, 500)[0])]
    assert preprocess_input(images).shape == (2, 224, 224, 3)
    assert preprocess_input(images[1]).shape == (1, 224, 224, 3)
    assert preprocess_input([]).shape == (0, 224, 224, 3)
    for wrong in ([np.zeros((5, 5))], np.zeros((5, 5)), np.zeros((5, 5, 4)), tf.zeros((5, 5, 1)), tf.zeros((2, 2))):
        with pytest.raises(ValueError, match=r"^images=(array|tensor) of shape .*: expected \[H, W, 3\]"):
            preprocess_input(wrong)


@pytest.mark.parametrize("variant", ["paper", "caffe"])
@pytest.mark.parametrize("shape", [(300, 280, 3), (None, None, 3), (None, None, None)])
def test_preprocess_input_in_a_dataset(variant, shape):
    images = random.integers(0, 256, (3, 300, 280, 3)).astype(np.uint8)
    expected = preprocess_input(images, variant=variant)
    spec = tf.TensorSpec(shape, tf.uint8)
    data = tf.data.Dataset.from_generator(lambda: iter(images), output_signature=spec)
    function = lambda batch: preprocess_input(batch, variant=variant)  # noqa: E731
    single, batched = data.map(function).batch(3), data.batch(3).map(function)
    size = VARIANTS[variant].crop_size
    for dataset in (single, batched):
        assert dataset.element_spec.shape[1:] == (size, size, 3) and dataset.element_spec.dtype == tf.float32
        (found,) = dataset
        np.testing.assert_array_equal(found, expected)


def test_preprocess_input_warns_of_images_in_0_to_1():
    scaled = random.uniform(size=(2, 224, 224, 3)).astype(np.float32)
    with pytest.warns(UserWarning, match="values in 0..255"):
        preprocess_input(scaled)
    with pytest.warns(UserWarning, match="values in 0..255"):
        list(tf.data.Dataset.from_tensor_slices(scaled).map(preprocess_input))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preprocess_input(scaled * 255)
        preprocess_input(np.ones((1, 224, 224, 3), np.uint8))
        preprocess_input(np.zeros((1, 224, 224, 3), np.float32))


def test_decode_predictions_names_the_best_classes_first():
    predictions = np.array([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]])
    named = decode_predictions(predictions, top=2, class_names=["a", "b", "c"])
    assert named == [[(1, "b", 0.6), (2, "c", 0.3)], [(0, "a", 0.5), (1, "b", 0.25)]]


def test_decode_predictions_names_imagenets_classes_and_wants_other_names():
    predictions = np.eye(1000)[[0, 217, 999]]
    best = [row[0] for row in decode_predictions(predictions)]
    assert best[0] == ("n01440764", "tench", 1.0)
    assert [wnid for wnid, _, _ in best] == ["n01440764", "n02102040", "n15075141"]
    assert decode_predictions(predictions, class_names=[f"c{n}" for n in range(1000)])[1][0] == (217, "c217", 1.0)
    with pytest.raises(ValueError, match="class_names: found none; expected 7"):
        decode_predictions(np.zeros((1, 7)))
    with pytest.raises(ValueError, match="top=0"):
        decode_predictions(predictions, top=0)
