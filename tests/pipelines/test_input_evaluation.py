import numpy as np
import pytest
import tensorflow as tf

from pipelines import input
from pipelines.images.crops import resize_image
from pipelines.images.decode import decode_rgb
from tests.helpers.fake_source import IMAGES, prepared_source, training, unprepared_source


@pytest.mark.parametrize("batch_size", [0, -1, 22])
def test_a_batch_size_without_a_full_batch_is_refused_with_both_numbers(batch_size):
    bad = frozenset({"image3", "image7"})
    with pytest.raises(ValueError, match=rf"batch_size={batch_size}: expected 1 to 21,"):
        training(prepared_source(), batch_size=batch_size, bad_keys=bad)


@pytest.mark.medium
def test_evaluation_gives_every_image_once_in_order_with_a_short_last_batch():
    source = unprepared_source()
    batches = list(input.evaluation_batches(source, "validation", batch_size=5).as_numpy_iterator())
    assert [len(labels) for _, labels, _, _ in batches] == [5, 5, 5, 5, 3]
    images, labels, valid, keys = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert (images.dtype, labels.dtype, valid.dtype) == (np.uint8, np.int32, np.bool_)
    assert labels.tolist() == list(range(IMAGES))
    assert [key.decode() for key in keys] == list(source.files)
    assert valid.all()
    for image, data in zip(images, source.files.values(), strict=True):
        np.testing.assert_array_equal(image, resize_image(decode_rgb(tf.constant(data))))


@pytest.mark.medium
def test_evaluation_flags_bad_images_and_keeps_the_others():
    source = unprepared_source()
    source.files["image3"] = source.files["image3"][:-100]
    source.files["image7"] = b""
    bad = [False] * IMAGES
    bad[3] = bad[7] = True
    batches = input.evaluation_batches(source, "validation", batch_size=IMAGES, resize="warp")
    images, _, valid, _ = next(batches.as_numpy_iterator())
    np.testing.assert_array_equal(valid, np.logical_not(bad))
    np.testing.assert_array_equal(images.reshape(IMAGES, -1).any(axis=1), np.logical_not(bad))
    np.testing.assert_array_equal(images[4], resize_image(decode_rgb(tf.constant(source.files["image4"])), "warp"))


def test_evaluation_refuses_an_empty_batch():
    with pytest.raises(ValueError, match=r"batch_size=0: expected at least 1"):
        input.evaluation_batches(prepared_source(), "validation", batch_size=0)


@pytest.mark.parametrize("make", [prepared_source, unprepared_source])
def test_unknown_options_are_refused_by_name(make):
    with pytest.raises(ValueError, match=r"^resize=squash: expected one of shorter_side, warp, torchvision$"):
        training(make(), resize="squash")
    with pytest.raises(ValueError, match=r"^resize=squash: expected one of shorter_side, warp, torchvision$"):
        input.evaluation_batches(make(), "validation", batch_size=1, resize="squash")
    with pytest.raises(ValueError, match=r"^color_augmentation=fancy: expected one of paper, source2012, none$"):
        training(make(), color_augmentation="fancy")
    with pytest.raises(ValueError, match=r"^mean_crop=left: expected one of central, crop$"):
        training(make(), mean_crop="left")
    with pytest.raises(ValueError, match=r"^crop_chunk=0: expected at least 1$"):
        training(make(), crop_chunk=0)
    with pytest.raises(ValueError, match=r"^batch_size=5: expected a multiple of 2, the machines that share it$"):
        training(make(), shard=(0, 2))
    with pytest.raises(ValueError, match=r"^shard=2, 2: expected an index of 0 to 1$"):
        training(make(), shard=(2, 2), batch_size=4)
