from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import input
from pipelines.datasets.prepared_shards import Shards
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, photograph

pytestmark = pytest.mark.medium

LENGTHS = (7, 5, 9, 4, 8, 6)
TOTAL = sum(LENGTHS)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Shards:
    """Six files; the label of a record is its place in them, its image is that number in words."""
    folder = tmp_path_factory.mktemp("shards")
    paths, label = [], 0
    for i, length in enumerate(LENGTHS):
        paths.append(str(folder / f"{i}.tfrecord"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for _ in range(length):
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(b"image %d" % label)
                example.features.feature["label"].int64_list.value.append(label)
                example.features.feature["key"].bytes_list.value.append(b"key %d" % label)
                writer.write(example.SerializeToString())
                label += 1
    return Shards(paths, LENGTHS, num_bytes=TOTAL * 100)


def labels(shards: Shards, *args, **options) -> list[int]:
    return [int(label) for _, label, _ in shards.encoded(*args, **options).as_numpy_iterator()]


def test_without_a_seed_records_come_as_they_are_stored(shards):
    elements = list(shards.encoded().as_numpy_iterator())
    assert elements == [(b"image %d" % i, i, b"key %d" % i) for i in range(TOTAL)]
    assert elements[0][1].dtype == np.int32


# One shuffle block; blocks of some records; a block for each shard.
@pytest.mark.parametrize("block_bytes", [10**9, 1500, 1])
def test_every_record_comes_once_in_an_order_of_the_seeds_own(shards, block_bytes):
    first, second = (labels(shards, seed, block_bytes=block_bytes) for seed in (1, 2))
    assert sorted(first) == sorted(second) == list(range(TOTAL))
    assert first != second
    assert first == labels(shards, 1, block_bytes=block_bytes)


@pytest.mark.parametrize("block_bytes", [10**9, 1500, 1])
@pytest.mark.parametrize("seed", [None, 3])
def test_starting_anywhere_gives_the_rest_of_the_order(shards, block_bytes, seed):
    whole = labels(shards, seed, block_bytes=block_bytes)
    for start in (0, 1, 6, 7, 20, TOTAL - 1, TOTAL):
        assert labels(shards, seed, start, block_bytes) == whole[start:]


@pytest.mark.slow
def test_any_record_can_come_at_any_place(shards):
    runs = np.array([labels(shards, seed, block_bytes=1500) for seed in range(40)])
    # Of 40 draws among 39 records, some 25 differ.
    assert min(len(set(runs[:, place])) for place in range(TOTAL)) > TOTAL / 3
    # Five standard errors of the mean of 40 uniform draws.
    assert np.all(np.abs(runs.mean(axis=0) - (TOTAL - 1) / 2) < 5 * TOTAL / np.sqrt(12 * 40))


def test_the_files_of_blocks_left_out_are_not_opened(shards):
    whole = labels(shards, 5, block_bytes=1)
    start, firsts = 20, np.cumsum([0, *LENGTHS[:-1]])
    of_records = np.searchsorted(firsts, whole, side="right") - 1
    needed = set(of_records[start:].tolist())
    assert len(needed) < len(LENGTHS)
    paths = [path if i in needed else f"{path}.gone" for i, path in enumerate(shards.paths)]
    assert labels(Shards(paths, LENGTHS, shards.num_bytes), 5, start, block_bytes=1) == whole[start:]


def test_a_prepared_folder_trains_on_each_of_its_records_from_any_step(tmp_path: Path):
    for i in range(9):
        path = tmp_path / "photographs" / "train" / f"class{i}" / "0.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(photograph(seed=i)))
    prepare(open_source(f"folder:{tmp_path}/photographs"), tmp_path / "prepared")
    source = open_source(str(tmp_path / "prepared"))

    def batches(start_step: int) -> list:
        return list(
            input.training_batches(
                source, source.statistics, batch_size=2, seed=1, start_step=start_step
            ).as_numpy_iterator()
        )

    whole = batches(0)
    assert len({int(label) for _, batch in whole for label in batch}) == 8
    for (images, labels_), (others, other_labels) in zip(whole[3:], batches(3), strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels_, other_labels)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_order_does_not_depend_on_tensorflows_own_seed(shards, seed):
    expected = labels(shards, 1)
    tf.random.set_seed(seed)
    assert labels(shards, 1) == expected
