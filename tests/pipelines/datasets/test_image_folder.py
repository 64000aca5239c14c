"""Image folders with odd files in them, and the validation split that is taken from training images."""

import os

import numpy as np
import pytest

from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source, read_errors
from pipelines.input import training_batches
from pipelines.preparation.compute_statistics import compute_statistics
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, image_folder, photograph, write_files

JPEG = encode(photograph())


def keys(source: Source, split: str) -> list[str]:
    return [key for _, _, key in source.examples(split)]


@pytest.fixture
def odd_folder(tmp_path):
    """Two good images, three bad files, a link to a directory that contains it, and a text file."""
    cat = (
        write_files(tmp_path, {"train/cat/a.jpg": JPEG, "train/dog/b.JFIF": JPEG, "train/cat/notes.txt": b""})
        / "train/cat"
    )
    os.mkfifo(cat / "pipe.jpg")
    (cat / "zero.png").symlink_to("/dev/zero")
    (cat / "broken.jpg").symlink_to("nowhere")
    (cat / "loop").symlink_to(tmp_path)
    (cat / "same.jpg").symlink_to(cat / "a.jpg")
    return tmp_path


BAD = {
    "train/cat/broken.jpg": "a broken link",
    "train/cat/pipe.jpg": "a named pipe, not a regular file",
    "train/cat/zero.png": "a device, not a regular file",
}


def test_only_regular_files_are_images_and_each_is_visited_once(odd_folder):
    source = open_source(f"folder:{odd_folder}")
    assert keys(source, "train") == ["train/cat/a.jpg", "train/dog/b.JFIF"]
    assert source.splits == {"train": 2}
    assert source.bad_files == {"train": BAD}
    assert source.ignored_files == {
        "train/cat/loop": "a link to a directory that contains it",
        "train/cat/notes.txt": "no image by its suffix",
        "train/cat/same.jpg": "visited before",
    }


def test_files_that_are_no_images_count_as_bad_images(odd_folder, tmp_path, capsys):
    source = open_source(f"folder:{odd_folder}")
    with pytest.raises(ValueError, match=r"max_bad_fraction=0.5: 3 of 5 images cannot be decoded"):
        compute_statistics(source, max_bad_fraction=0.5)
    statistics, bad = compute_statistics(source, max_bad_fraction=0.6)
    assert (statistics.count, bad) == (2, frozenset())
    summary = prepare(source, odd_folder / "out", max_bad_fraction=0.6)
    assert summary["bad_images"] == BAD
    errors = capsys.readouterr().err
    assert "skipped train/cat/pipe.jpg: a named pipe" in errors
    assert "ignored 3 files that are not images: train/cat/loop" in errors


@pytest.mark.parametrize("reading", ["prepare", "statistics", "train"])
@pytest.mark.medium
def test_files_that_cannot_be_read_are_bad_images(reading, tmp_path, capsys):
    folder = image_folder(tmp_path / "images", training=2)
    # Reading it fails after it was found, as a file does that the user may not read; permissions do not stop root.
    (folder / "train/cat/unreadable.jpg").symlink_to("/proc/self/mem")
    source = open_source(f"folder:{folder}")
    (folder / "train/dog/1.jpg").unlink()
    bad = {"train/cat/unreadable.jpg", "train/dog/1.jpg"}
    if reading == "prepare":
        assert set(prepare(source, tmp_path / "out", max_bad_fraction=0.5)["bad_images"]) == bad
    else:
        statistics, found = compute_statistics(source, max_bad_fraction=0.5)
        assert found == bad
    if reading == "train":
        batches = training_batches(source, statistics, batch_size=1, bad_keys=found)
        assert len(list(batches)) == source.splits["train"] - 2
    errors = capsys.readouterr().err
    for key in bad:
        assert f"skipped {key}: not an image file: empty, or cannot be read" in errors


def test_a_test_folder_is_the_validation_split_only_where_there_is_none(tmp_path):
    write_files(tmp_path, {"train/cat/1.jpg": JPEG, "train/cat/2.jpg": JPEG, "test/cat/3.jpg": JPEG})
    source = open_source(f"folder:{tmp_path}")
    assert source.splits == {"train": 2, "validation": 1}
    assert [key for _, _, key in source.examples("validation")] == ["test/cat/3.jpg"]
    # Images that are held out of train/ leave test/ untouched.
    source = open_source(f"folder:{tmp_path}", validation_fraction=0.5)
    assert source.splits == {"train": 1, "validation": 1, "test": 1}
    assert [key for _, _, key in source.examples("test")] == ["test/cat/3.jpg"]
    write_files(tmp_path, {"val/cat/4.jpg": JPEG})
    source = open_source(f"folder:{tmp_path}")
    assert source.splits == {"train": 2, "validation": 1, "test": 1}
    assert [key for _, _, key in source.examples("validation")] == ["val/cat/4.jpg"]


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_validation_folders_have_three_names(name, tmp_path):
    write_files(tmp_path, {"train/cat/1.jpg": JPEG, f"{name}/cat/2.jpg": JPEG, "test/cat/3.jpg": JPEG})
    assert open_source(f"folder:{tmp_path}").splits == {"train": 1, "validation": 1, "test": 1}


def test_a_folder_of_classes_holds_training_images(tmp_path):
    files = {"dog/1.jpg": JPEG, "cat/2.jpg": JPEG, "cat/old/3.jpg": JPEG, "readme.txt": b"text", ".cache/4.jpg": JPEG}
    source = open_source(f"folder:{write_files(tmp_path, files)}")
    assert source.class_names == ("cat", "dog") and source.splits == {"train": 3}
    labels = {key: label for _, label, key in source.examples("train")}
    assert labels == {"cat/2.jpg": 0, "cat/old/3.jpg": 0, "dog/1.jpg": 1}
    divided = open_source(f"folder:{tmp_path}", validation_fraction=0.5)
    assert divided.splits == {"train": 2, "validation": 1}


@pytest.fixture
def training_only(tmp_path):
    files = {
        f"train/{name}/{i}.jpg": JPEG for name, count in (("ant", 20), ("bee", 10), ("cat", 1)) for i in range(count)
    }
    return write_files(tmp_path, files)


def test_a_validation_split_takes_the_same_fraction_of_every_class(training_only):
    source = open_source(f"folder:{training_only}", validation_fraction=0.2)
    assert source.splits == {"train": 25, "validation": 6}
    training, validation = keys(source, "train"), keys(source, "validation")
    assert sorted(training + validation) == sorted(keys(open_source(f"folder:{training_only}"), "train"))
    labels = [label for _, label, _ in source.examples("validation")]
    np.testing.assert_array_equal(np.bincount(labels, minlength=3), [4, 2, 0])
    again = open_source(f"folder:{training_only}", validation_fraction=0.2)
    assert keys(again, "validation") == validation
    (training_only / training[0]).unlink()
    fewer = keys(open_source(f"folder:{training_only}", validation_fraction=0.2), "validation")
    assert len(set(fewer) ^ set(validation)) <= 1


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0, "between 0 and 1"), (1.0, "between 0 and 1"), (float("nan"), "between 0 and 1")],
)
def test_a_fraction_out_of_range_is_refused(fraction, expected, training_only):
    with pytest.raises(ValueError, match=rf"^validation_fraction={fraction}: .*{expected}"):
        open_source(f"folder:{training_only}", validation_fraction=fraction)


def test_only_image_folders_without_validation_images_are_divided(tmp_path):
    folder = image_folder(tmp_path / "images")
    with pytest.raises(ValueError, match=r"^validation_fraction=0.1: folder:.* has validation images"):
        open_source(f"folder:{folder}", validation_fraction=0.1)
    with pytest.raises(ValueError, match=r"^validation_fraction=0.1: expected an image folder .*, found cifar10"):
        open_source("cifar10", str(tmp_path), validation_fraction=0.1)
    single = write_files(tmp_path / "single", {"train/cat/1.jpg": JPEG, "train/dog/1.jpg": JPEG})
    with pytest.raises(ValueError, match=r"has one image per class, expected at least two"):
        open_source(f"folder:{single}", validation_fraction=0.1)


@pytest.mark.medium
def test_paths_of_datasets_expand_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare(open_source(f"folder:{image_folder(tmp_path / 'images')}"), tmp_path / "prepared")
    assert open_source("folder:~/images").splits == open_source("~/prepared").splits


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"text"), lambda path: path.unlink()], ids=["damaged", "removed"]
)
@pytest.mark.medium
def test_an_image_that_breaks_between_epochs_is_named_in_one_line(damage, tmp_path):
    source = open_source(f"folder:{image_folder(tmp_path, training=1)}")
    statistics, _ = compute_statistics(source)
    batches = training_batches(source, statistics, batch_size=2)
    damage(tmp_path / "train/cat/0.jpg")
    expected = "^dataset=folder:.*: train/cat/0.jpg can no longer be read or decoded$"
    with pytest.raises(ValueError, match=expected) as raised, read_errors(source):
        list(batches)
    assert "\n" not in str(raised.value)
