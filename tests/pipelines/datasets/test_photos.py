import hashlib
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pipelines.datasets import photos
from pipelines.datasets.registry import open_source

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("photos"))
    photos.build(folder)
    return folder


@pytest.fixture(scope="module")
def examples(data_dir: str) -> dict[str, list[dict]]:
    decoders = {"image": tfds.decode.SkipDecoding()}
    builder = photos.Photos(data_dir=data_dir)
    return {
        split: list(builder.as_dataset(split, decoders=decoders).as_numpy_iterator()) for split in builder.info.splits
    }


def original(name: str) -> Image.Image:
    return Image.open(photos.photographs_folder() / photos.PHOTOGRAPHS[name][0])


def test_it_opens_by_name_with_a_class_a_photograph(data_dir):
    source = open_source("photos", data_dir)
    classes = len(source.class_names)
    assert {"astronaut", "chelsea", "coffee", "rocket", "retina", "brick", "grass", "gravel"} <= set(source.class_names)
    assert source.splits == {"train": 96 * classes, "validation": 24 * classes}
    assert not source.prepared
    for split, count in (("train", 96), ("validation", 24)):
        labels = [label for _, label, _ in source.encoded(split).as_numpy_iterator()]
        np.testing.assert_array_equal(np.bincount(labels), np.full(classes, count))


def test_training_and_held_out_crops_share_no_pixel(examples):
    for label, name in enumerate(photos.PHOTOGRAPHS):
        width, height = original(name).size
        painted = {split: np.zeros((height, width), bool) for split in examples}
        for split, mask in painted.items():
            for y0, x0, y1, x1 in (example["box"] for example in examples[split] if example["label"] == label):
                assert 0 <= y0 < y1 <= height
                assert 0 <= x0 < x1 <= width
                assert y1 - y0 == x1 - x0
                mask[y0:y1, x0:x1] = True
        assert not np.any(painted["train"] & painted["validation"]), name
        assert painted["train"].sum() > painted["validation"].sum() > 0


def test_crops_show_what_is_inside_their_box_and_nothing_else(examples):
    names = list(photos.PHOTOGRAPHS)
    for example in examples["validation"][::10] + examples["train"][::40]:
        y0, x0, y1, x1 = (int(edge) for edge in example["box"])
        window = np.asarray(original(names[example["label"]]).convert("RGB"))[y0:y1, x0:x1]
        expected = np.asarray(Image.fromarray(window).resize((256, 256), Image.Resampling.BILINEAR))
        found = np.asarray(Image.open(io.BytesIO(example["image"])))
        assert found.shape == (256, 256, 3)
        assert np.abs(found.astype(int) - expected).mean() < 6


def test_held_out_tiles_are_one_in_each_row_and_column():
    window = photos.Box(10, 20, 410, 820)
    tiles = photos.held_out_tiles(window)
    assert sorted(tile.y0 for tile in tiles) == [10, 110, 210, 310]
    assert sorted(tile.x0 for tile in tiles) == [20, 220, 420, 620]
    assert all((tile.y1 - tile.y0, tile.x1 - tile.x0) == (100, 200) for tile in tiles)


def test_training_boxes_stay_in_the_window_and_many_straddle_tiles():
    window = photos.Box(10, 20, 410, 420)
    boxes = photos.training_boxes(window, np.random.default_rng(0))
    assert all(box.y0 >= 10 and box.x0 >= 20 and box.y1 <= 410 and box.x1 <= 420 for box in boxes)
    assert any((box.y0 - 10) // 100 != (box.y1 - 11) // 100 for box in boxes)
    assert len(set(boxes)) > 90


def test_it_is_built_the_same_every_time(examples, tmp_path):
    photos.build(str(tmp_path))
    again = photos.Photos(data_dir=str(tmp_path)).as_dataset("train", decoders={"image": tfds.decode.SkipDecoding()})

    def digest(items) -> str:
        return hashlib.sha256(b"".join(item["image"] for item in items)).hexdigest()

    assert digest(again.as_numpy_iterator()) == digest(examples["train"])


def test_building_says_nothing(tmp_path, capfd):
    photos.build(str(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_without_scikit_image_the_package_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'keras-alexnet\[photos\]'"):
        open_source("photos", str(tmp_path))


def test_a_data_dir_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"data_dir=.*file: cannot build photos there"):
        open_source("photos", str(tmp_path / "file"))


def test_the_metadata_says_that_it_is_no_benchmark(data_dir):
    assert "no benchmark" in photos.Photos(data_dir=data_dir).info.description
