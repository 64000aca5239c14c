"""Directories that `pipelines.prepare` wrote at revision 7d55002 open today."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.datasets.registry import open_source
from tests.helpers.image_files import encode, photograph

TFDS = "tensorflow_datasets.core.features"
JPEG = encode(photograph(256, 256))


def split(name: str, size: int) -> dict:
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    return {"filepathTemplate": template, "name": name, "numBytes": str(size), "shardLengths": ["2"]}


FEATURES = {
    "image": {
        "image": {"dtype": "uint8", "encodingFormat": "jpeg", "shape": {"dimensions": ["256", "256", "3"]}},
        "pythonClassName": f"{TFDS}.image_feature.Image",
    },
    "key": {
        "description": "id of the example in the original dataset",
        "pythonClassName": f"{TFDS}.text_feature.Text",
        "text": {},
    },
    "label": {"classLabel": {"numClasses": "2"}, "pythonClassName": f"{TFDS}.class_label_feature.ClassLabel"},
}
SUMMARY = {
    "source": "folder:photographs",
    "resize": "warp",
    "quality": 95,
    "splits": {
        "train": {"images": 2, "classes": {"cat": 1, "dog": 1}},
        "validation": {"images": 2, "classes": {"cat": 1, "dog": 1}},
    },
    "label_names": {"cat": "house cat", "dog": "dog"},
    "bad_images": {},
    "rgb_mean": [100.0, 100.0, 100.0],
    "eigenvalues": [3.0, 2.0, 1.0],
    "eigenvectors": np.eye(3).tolist(),
    "versions": {"keras-alexnet": "0.1.0", "tensorflow": "2.21.0", "tensorflow-datasets": "4.9.10"},
}


@pytest.fixture
def old_directory(tmp_path):
    sizes = {}
    for name in ("train", "validation"):
        path = tmp_path / f"prepared-{name}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for label, class_name in enumerate(("cat", "dog")):
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(JPEG)
                example.features.feature["label"].int64_list.value.append(label)
                example.features.feature["key"].bytes_list.value.append(f"{name}/{class_name}/0.jpg".encode())
                writer.write(example.SerializeToString())
        sizes[name] = path.stat().st_size
    info = {
        "description": "folder:photographs, resized to 256 x 256",
        "moduleName": "pipelines.metadata",
        "name": "prepared",
        "splits": [split(name, size) for name, size in sizes.items()],
        "version": "1.0.0",
    }
    features = {"featuresDict": {"features": FEATURES}, "pythonClassName": f"{TFDS}.features_dict.FeaturesDict"}
    for name, content in (("dataset_info", info), ("features", features), ("summary", SUMMARY)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "label.labels.txt").write_text("cat\ndog\n")
    arrays = {
        "count": 2,
        "mean_image": np.full((256, 256, 3), 100.0),
        "rgb_mean": np.full(3, 100.0),
        "rgb_covariance": np.diag([3.0, 2.0, 1.0]),
        "eigenvalues": np.array([3.0, 2.0, 1.0]),
        "eigenvectors": np.eye(3),
    }
    np.savez(tmp_path / "statistics.npz", **arrays)
    return tmp_path


def test_a_directory_of_the_old_version_opens_with_all_it_has(old_directory):
    source = open_source(str(old_directory))
    assert (source.prepared, source.resize, source.size, source.encoding) == (True, "warp", 256, "jpeg")
    assert (source.class_names, source.label_names) == (("cat", "dog"), ("house cat", "dog"))
    assert source.splits == {"train": 2, "validation": 2}
    assert source.statistics.count == 2
    np.testing.assert_array_equal(source.statistics.eigenvalues, [3, 2, 1])
    for name in source.splits:
        assert list(source.examples(name)) == [(JPEG, 0, f"{name}/cat/0.jpg"), (JPEG, 1, f"{name}/dog/0.jpg")]
        [shard] = source.shards(name, 1)
        assert len(list(shard.encoded())) == 2
