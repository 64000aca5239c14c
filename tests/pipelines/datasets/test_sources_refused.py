import os
import re
import shutil
from pathlib import Path

import pytest

from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, image_folder, photograph, write_files

JPEG = encode(photograph())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("to_break")
    prepare(open_source(f"folder:{image_folder(root / 'images', training=1, validation=1)}"), root / "prepared")
    return root / "prepared"


def message(dataset: str, data_dir: str | None = None) -> str:
    with pytest.raises(ValueError) as raised:
        open_source(dataset, data_dir)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_datasets_that_tfds_could_build_are_not_downloaded_but_explained(tmp_path):
    by_hand = message("imagenet2012", str(tmp_path))
    manual_dir, archives = f"{tmp_path}/downloads/manual/", "ILSVRC2012_img_train.tar ILSVRC2012_img_val.tar"
    assert by_hand.startswith(f"dataset=imagenet2012: not built in data_dir={tmp_path}; fetch its archives by hand")
    assert f"`mkdir -p {manual_dir} && mv {archives} {manual_dir}`" in by_hand
    assert by_hand.endswith(f" and `tfds build imagenet2012 --data_dir={tmp_path}`")
    assert message("cifar10", str(tmp_path)).endswith(f"; run `tfds build cifar10 --data_dir={tmp_path}`")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("cifar1O", "close to it: cifar10"),
        ("photo", "close to it: photos"),
        ("no/such/path", "expected photos, folder:<dir>"),
        ("huggingface:mnist", "expected photos, folder:<dir>"),
        ("", "expected photos, folder:<dir>"),
        ("cifar10:9.9.9", "cifar10 has versions 3.0.2"),
        ("imagenet_v2/nothing", "configurations matched-frequency"),
        ("wikipedia", r"found features title \(Text\), text \(Text\); expected image"),
        ("coco", r"expected image \(Image of uint8\) and label \(ClassLabel\)"),
    ],
)
def test_a_name_that_cannot_be_used_is_explained_in_one_line(dataset: str, expected: str, tmp_path):
    found = message(dataset, str(tmp_path))
    assert found.startswith(f"dataset={dataset}: ")
    assert re.search(expected, found)
    assert len(found) < 500


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), "no folder train/ in it, expected train/<class>"),
        (("val/cat/1.jpg", "val/dog/2.jpg"), "no folder train/ in it, expected train/<class>"),
        (("cat/1.jpg", "dog/2.jpg", "notes/readme.txt"), "no folder train/ in it, and no image in notes, expected "),
        (("cat/1.jpg",), "no folder train/ in it, and one class only, cat, expected train/<class>.* or <class>"),
        (("train/1.jpg",), "no class folders in .*train"),
        (("train/cat/1.jpg", "train/dog/readme.txt"), "no image in train/dog, expected .jpg"),
        (("train/cat/1.jpg", "val/dog/2.jpg"), "class 'dog' is in val/ but not in train/"),
        (("train/cat/1.jpg", "val/2.jpg"), "no class folders in val/"),
        (("train/cat/1.jpg", "val/cat/2.jpg", "validation/cat/3.jpg"), "found both val and validation"),
        (("train/cat\nfish/1.jpg",), r"class 'cat.*fish' has a line break in its name"),
        (("train/cat /1.jpg",), "class 'cat ' has .* a blank at its end; rename it"),
    ],
)
def test_a_folder_of_another_layout_is_refused(files: tuple[str, ...], expected: str, tmp_path):
    write_files(tmp_path, dict.fromkeys(files, JPEG))
    found = message(f"folder:{tmp_path}")
    assert found.startswith(f"dataset=folder:{tmp_path}: ")
    assert re.search(expected, found)


def test_a_file_name_that_is_not_utf_8_is_named(tmp_path):
    write_files(tmp_path, {"train/cat/1.jpg": JPEG, os.fsdecode(b"train/cat/\xe9t\xe9.jpg"): JPEG})
    assert r"train/cat/\udce9t\udce9.jpg' is not UTF-8, rename it" in message(f"folder:{tmp_path}")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    assert "no such folder" in message(f"folder:{tmp_path}/nowhere")


def test_a_directory_that_was_not_prepared_says_what_it_may_be(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "python -m pipelines.prepare writes one" in message(f"{tmp_path}/empty")
    images = image_folder(tmp_path / "images")
    assert f"dataset=folder:{images} reads an image folder" in message(str(images))


def break_json(folder: Path, name: str) -> None:
    (folder / name).write_text((folder / name).read_text()[:40])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: break_json(folder, "summary.json"), "damaged prepared directory"),
        (lambda folder: break_json(folder, "dataset_info.json"), "damaged prepared directory"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "damaged prepared directory"),
        (lambda folder: (folder / "features.json").unlink(), "damaged prepared directory"),
        (lambda folder: (folder / "summary.json").write_text("[]"), "damaged prepared directory"),
        (lambda folder: (folder / "statistics.npz").unlink(), "statistics.npz: no such file"),
        (lambda folder: (folder / "statistics.npz").write_text("x"), "statistics.npz: broken or foreign"),
    ],
)
def test_a_damaged_prepared_folder_is_named(damage, expected: str, tmp_path, prepared):
    broken = tmp_path / "broken"
    shutil.copytree(prepared, broken)
    damage(broken)
    found = message(str(broken))
    assert str(broken) in found
    assert expected in found
