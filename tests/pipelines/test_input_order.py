import numpy as np
import pytest
import tensorflow as tf

from pipelines import input
from tests.helpers.fake_source import IMAGES, FakeStatistics, assert_same, prepared_source, training, unprepared_source

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("crop_chunk", [1, 4])
@pytest.mark.parametrize("start_step", [0, 2])
def test_shards_share_each_batch_evenly(crop_chunk, start_step):
    options = {"batch_size": 6, "crop_chunk": crop_chunk, "start_step": start_step}
    whole = training(prepared_source(), **options)
    shards = [training(prepared_source(), shard=(index, 3), **options) for index in range(3)]
    assert len(whole) == 3 - start_step
    for step, (images, labels) in enumerate(whole):
        for index, shard in enumerate(shards):
            np.testing.assert_array_equal(shard[step][1], labels[index::3])
            np.testing.assert_array_equal(shard[step][0], images[index::3])


def test_an_epoch_has_each_image_at_most_once_and_only_full_batches():
    batches = training(prepared_source())
    labels = np.concatenate([labels for _, labels in batches])
    assert len(batches) == IMAGES // 5 == input.steps_per_epoch(prepared_source(), 5)
    assert labels.dtype == np.int32
    assert len(set(labels.tolist())) == 20


@pytest.mark.parametrize(("make", "steps"), [(prepared_source, (1, 3, 4)), (unprepared_source, (3,))])
def test_starting_at_a_step_gives_the_batches_from_there_bit_for_bit(make, steps):
    batches = training(make())
    for step in steps:
        assert_same(training(make(), start_step=step), batches[step:])


def test_batches_do_not_depend_on_the_number_of_threads():
    dataset = input.training_batches(unprepared_source(), FakeStatistics(), batch_size=5)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    assert_same(list(dataset.as_numpy_iterator()), list(dataset.with_options(options).as_numpy_iterator()))


@pytest.mark.parametrize("change", [{"seed": 8}, {"epoch": 3}])
def test_another_seed_or_epoch_gives_another_order_and_other_windows(change):
    without_shift = {"color_augmentation": "none"}
    batches, others = (
        training(prepared_source(), **without_shift),
        training(prepared_source(), **without_shift, **change),
    )
    assert [labels.tolist() for _, labels in batches] != [labels.tolist() for _, labels in others]
    by_label = [
        {int(label): image for images, labels in run for image, label in zip(images, labels, strict=True)}
        for run in (batches, others)
    ]
    common = by_label[0].keys() & by_label[1].keys()
    assert any(not np.array_equal(by_label[0][label], by_label[1][label]) for label in common)


def test_bad_keys_are_left_out_and_counted_out():
    source = unprepared_source()
    source.files["image3"] = b"junk"
    source.files["image7"] = b""
    bad = frozenset({"image3", "image7"})
    batches = training(source, batch_size=3, bad_keys=bad)
    labels = np.concatenate([labels for _, labels in batches])
    assert sorted(labels) == [i for i in range(IMAGES) if i not in (3, 7)]
    assert len(batches) == input.steps_per_epoch(source, 3, bad) == 7
    assert_same(training(source, batch_size=3, bad_keys=bad, start_step=2), batches[2:])


def test_skipped_steps_are_not_decoded():
    source = unprepared_source()
    labels = training(source)[0][1]
    for label in labels:
        source.files[f"image{label}"] = b"junk"
    assert len(training(source, start_step=1)) == 3


def test_an_undecodable_training_image_is_named():
    source = unprepared_source()
    source.files["image3"] = source.files["image3"][:-100]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"cannot be decoded.*image3"):
        training(source, batch_size=1)
