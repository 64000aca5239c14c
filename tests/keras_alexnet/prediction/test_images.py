"""Inputs of a prediction: files, lists of paths and datasets, in parts."""

import os

import pytest

from keras_alexnet.prediction.images import find_inputs, read_image
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers import image_files


def test_a_list_names_files_directories_and_patterns(tmp_path, monkeypatch):
    files = {name: b"x" for name in ("a.jpg", "d/b.png", "d/c.txt", "e/1.gif", "e/2.gif", "+ü f.jpg")}
    image_files.write_files(tmp_path, files)
    (tmp_path / "list.txt").write_text("a.jpg\n\nd\r\ne/*2.gif\nmissing.jpg\na.jpg\n+ü f.jpg\n", encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    inputs = find_inputs(["list.txt", "e"])
    (part,) = inputs.parts
    assert list(part.paths) == ["a.jpg", "d/b.png", "e/2.gif", "missing.jpg", "a.jpg", "+ü f.jpg", "e/1.gif"]
    monkeypatch.chdir("/")
    reasons = [image.reason for image in part.images()]
    assert "begins with b'x'" in reasons[0] and "No such file" in reasons[3], "paths begin where the command began"


def test_parts_cover_large_inputs_in_order(tmp_path):
    lines = [f"{number}.jpg" for number in range(3000)]
    (tmp_path / "list.txt").write_text("\n".join([str(tmp_path / "list.txt"), *lines]))
    inputs = find_inputs([str(tmp_path / "list.txt")])
    assert [path for part in inputs.parts for path in part.paths][1:] == lines
    assert {part.size for part in inputs.parts[:-1]} == {64} and inputs.size == 3001
    assert [part.index for part in inputs.parts] == list(range(47))
    reordered = [str(tmp_path / "list.txt"), *reversed(lines)]
    (tmp_path / "list.txt").write_text("\n".join(reordered))
    assert find_inputs([str(tmp_path / "list.txt")]).fingerprint != inputs.fingerprint


@pytest.mark.medium
def test_a_prepared_directory_is_a_dataset(tmp_path):
    folder = image_files.image_folder(tmp_path / "raw", 20, 2)
    prepare(open_source(f"folder:{folder}"), tmp_path / "prepared")
    for argument, expected in ((str(tmp_path / "prepared"), 44), (f"folder:{folder}", 44)):
        inputs = find_inputs([argument])
        found = [image for part in inputs.parts for image in part.images()]
        assert [part.size for part in inputs.parts] == [len(list(part.images())) for part in inputs.parts]
        assert inputs.size == len(found) == len({image.path for image in found}) == expected
        assert all(image.content for image in found)
        assert find_inputs([argument], split="validation").size == 4
    assert find_inputs([str(folder)]).size == 44, "an image folder without a prefix is a directory of files"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no/such.jpg"], "images=no/such.jpg: No such file"),
        (["no/*.jpg"], "images="),
        (["no_such_dataset"], "images=no_such_dataset: no such"),
        (["photos", "no/such.jpg"], "images=photos: No such file"),
        (["{empty}"], "no image file in this directory"),
        (["{empty}/list.txt"], "no images"),
    ],
)
def test_inputs_without_images_are_refused(tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    if "list" in arguments[0]:
        (tmp_path / "empty" / "list.txt").touch()
    with pytest.raises(ValueError, match=words):
        find_inputs([argument.format(empty=tmp_path / "empty") for argument in arguments])


def test_a_split_of_files_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match="split=train: expected a dataset"):
        find_inputs([str(tmp_path)], split="train")


def test_files_that_are_no_images_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "a named pipe" in read_image(tmp_path / "pipe.jpg").reason
    assert read_image(b"").reason.startswith("the file is empty")
