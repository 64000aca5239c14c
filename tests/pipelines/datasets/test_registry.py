import pickle

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, image_folder, photograph, write_files

pytestmark = pytest.mark.medium

JPEG = encode(photograph())


class PrivateTestLabels(tfds.core.GeneratorBasedBuilder):
    """Like imagenet2012: a test split whose labels are secret."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["cat", "dog"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {
            "train": self._generate_examples(100),
            "validation": self._generate_examples(3),
            "test": self._generate_examples(3, secret=True),
        }

    def _generate_examples(self, count: int, secret: bool = False):
        for index in range(count):
            yield index, {"image": JPEG, "label": -1 if secret else index % 2}


class TestAsValidation(tfds.core.GeneratorBasedBuilder):
    """Like cifar10: train and test, losslessly compressed; and a feature nobody asks for."""

    VERSION = tfds.core.Version("2.0.0")
    __test__ = False

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(num_classes=2),
            "other": tfds.features.Image(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

    def _generate_examples(self, count: int):
        for index in range(count):
            image = np.full((8, 8, 3), index, np.uint8)
            yield index, {"image": image, "label": index % 2, "other": image}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("tfds"))
    for builder_class in (PrivateTestLabels, TestAsValidation):
        builder_class(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{image_folder(tmp_path_factory.mktemp('folder'), training=20)}"


def keys(source: Source, split: str = "train", seed: int | None = None) -> list[str]:
    return [key.decode() for _, _, key in source.encoded(split, seed).as_numpy_iterator()]


def test_a_folder_gives_every_image_with_its_class_and_path(tmp_path):
    files = {
        "train/dog/b.JPG": encode(photograph(seed=1)),
        "train/dog/a.png": encode(photograph(seed=2), "PNG"),
        "train/cat/deep/er/c.jpeg": encode(photograph(seed=3)),
        "validation/dog/d.webp": encode(photograph(seed=4), "WEBP"),
        "test/cat/e.bmp": encode(photograph(seed=5), "BMP"),
    }
    ignored = {
        "train/dog/.hidden.jpg": b"",
        "train/.git/x.jpg": b"",
        "train/cat/notes.txt": b"",
        "train/dog/.d/f.jpg": b"",
    }
    source = open_source(f"folder:{write_files(tmp_path, files | ignored)}")
    assert source.name == f"folder:{tmp_path}"
    assert source.class_names == ("cat", "dog")
    assert source.splits == {"train": 3, "validation": 1, "test": 1}
    assert (source.prepared, source.resize, source.statistics) == (False, "shorter_side", None)
    found = {}
    for split in source.splits:
        for encoded, label, key in source.encoded(split).as_numpy_iterator():
            assert source.class_names[label] == key.decode().split("/")[1]
            found[key.decode()] = encoded
    assert found == files


def test_elements_are_scalars_of_the_promised_types(folder, data_dir):
    for source in (open_source(folder), open_source("private_test_labels", data_dir)):
        expected = tuple(tf.TensorSpec([], kind) for kind in (tf.string, tf.int32, tf.string))
        assert source.encoded("train").element_spec == expected


def test_a_folder_without_validation_images_has_only_a_training_split(tmp_path):
    source = open_source(f"folder:{write_files(tmp_path, {'train/cat/1.jpg': JPEG})}")
    assert source.splits == {"train": 1}
    with pytest.raises(ValueError, match=r"split=validation: .* expected one of train"):
        source.encoded("validation")


@pytest.mark.parametrize("kind", ["folder", "tfds", "prepared"])
def test_the_order_is_a_function_of_the_seed(kind: str, folder, data_dir, tmp_path):
    if kind == "prepared":
        prepare(open_source(folder), tmp_path / "prepared")
    dataset = {"folder": folder, "tfds": "private_test_labels", "prepared": str(tmp_path / "prepared")}[kind]
    source, again = open_source(dataset, data_dir), open_source(dataset, data_dir)
    fixed = keys(source)
    assert len(set(fixed)) == source.splits["train"]
    assert fixed == keys(again)
    shuffled = {seed: keys(source, seed=seed) for seed in (0, 1, -5, 2**63 + 1)}
    for seed, order in shuffled.items():
        assert order == keys(again, seed=seed)
        assert sorted(order) == sorted(fixed)
        assert order != fixed
    assert shuffled[0] != shuffled[1]
    twice = source.encoded("train", 1)
    assert list(twice.as_numpy_iterator()) == list(twice.as_numpy_iterator())


def test_a_shuffle_over_many_shards_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.preparation.prepare._IMAGES_PER_SHARD", 3)
    monkeypatch.setattr("pipelines.datasets.tfds_records.SHUFFLE_BYTES", 1)
    prepare(open_source(f"folder:{image_folder(tmp_path / 'images', training=10)}"), tmp_path / "prepared")
    assert len(list((tmp_path / "prepared").glob("prepared-train*"))) == 7
    source = open_source(str(tmp_path / "prepared"))
    assert sorted(keys(source)) == sorted(keys(source, seed=3))
    assert keys(source, seed=3) == keys(source, seed=3) != keys(source, seed=4)


class SortedByClass(PrivateTestLabels):
    """Told not to shuffle: all cats, then all dogs."""

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        return tfds.core.DatasetInfo(builder=self, features=info.features, disable_shuffling=True)

    def _generate_examples(self, count: int, secret: bool = False):
        for index in range(count):
            yield index, {"image": JPEG, "label": -1 if secret else int(index >= count // 2)}


@pytest.mark.parametrize("kind", ["folder", "tfds", "sorted tfds"])
def test_parts_are_mixed_and_together_every_image_once(kind: str, folder, data_dir, tmp_path):
    if kind == "sorted tfds":
        SortedByClass(data_dir=tmp_path).download_and_prepare()
        source = open_source("sorted_by_class", str(tmp_path))
    else:
        source = open_source({"folder": folder, "tfds": "private_test_labels"}[kind], data_dir)
    parts = source.shards("train", 3)
    assert len({part.fingerprint for part in parts}) == 3
    found = []
    for part in parts:
        # As a worker gets it.
        examples = list(pickle.loads(pickle.dumps(part)).encoded().as_numpy_iterator())
        labels = [int(label) for _, label, _ in examples]
        assert labels not in (sorted(labels), sorted(labels, reverse=True))
        assert abs(len(examples) - source.splits["train"] / 3) < 1
        found += [key.decode() for _, _, key in examples]
        assert [key for _, _, key in part.encoded().as_numpy_iterator()] == [key for _, _, key in examples]
    assert sorted(found) == sorted(keys(source))
    assert [part.fingerprint for part in source.shards("train", 3)] == [part.fingerprint for part in parts]


def test_tfds_images_stay_as_they_are_encoded(data_dir):
    source = open_source("private_test_labels", data_dir)
    assert {encoded for encoded, _, _ in source.encoded("train").as_numpy_iterator()} == {JPEG}


def test_a_test_split_without_labels_is_left_out(data_dir):
    assert open_source("private_test_labels", data_dir).splits == {"train": 100, "validation": 3}


def test_the_test_split_validates_where_there_is_no_other(data_dir):
    source = open_source("test_as_validation:2.0.0", data_dir)
    assert source.splits == {"train": 4, "validation": 2}
    assert source.class_names == ("0", "1")
    values = [tf.io.decode_png(encoded)[0, 0, 0].numpy() for encoded, _, _ in source.encoded("validation")]
    assert sorted(values) == [0, 1]
