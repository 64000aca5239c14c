import numpy as np
import pytest
from PIL import Image

from pipelines import contact_sheet
from pipelines.datasets.registry import open_source
from pipelines.inspect import inspect
from tests.helpers.commands import Finished, run_command
from tests.helpers.image_files import encode, photograph, write_files

pytestmark = pytest.mark.medium


@pytest.fixture
def folder(tmp_path):
    """Four training and two validation photographs, among them a broken file and copies."""
    one, two, three = (encode(photograph(60, 80 + 10 * seed, seed)) for seed in range(3))
    files = {
        "train/cat/a.jpg": one,
        "train/cat/copy_of_a.jpg": one,
        "train/cat/broken.jpg": b"no image",
        "train/dog/b.jpg": two,
        "train/dog/a_again.jpg": one,
        "val/cat/c.jpg": three,
        "val/dog/b_too.jpg": two,
    }
    write_files(tmp_path, files)
    return tmp_path


def test_everything_that_is_wrong_with_a_dataset_is_found(folder):
    findings = inspect(open_source(f"folder:{folder}"))
    train, validation = findings["train"], findings["validation"]
    assert dict(train.classes) == {0: 3, 1: 2}
    assert dict(validation.classes) == {0: 1, 1: 1}
    assert dict(train.sizes) == {(80, 60): 3, (90, 60): 1}
    assert dict(validation.sizes) == {(100, 60): 1, (90, 60): 1}
    assert train.unreadable == ["train/cat/broken.jpg"]
    copies = {"train/cat/copy_of_a.jpg", "train/dog/a_again.jpg"}
    assert {(key, first) for key, first in train.duplicates} == {(key, "train/cat/a.jpg") for key in copies}
    assert train.relabelled == [("train/dog/a_again.jpg", "train/cat/a.jpg")]
    assert (train.leaked, validation.duplicates, validation.relabelled, validation.unreadable) == ([], [], [], [])
    assert validation.leaked == [("val/dog/b_too.jpg", "train/dog/b.jpg", "train")]


def test_the_contact_sheet_shows_each_photograph_and_different_crops_of_it(folder, monkeypatch):
    monkeypatch.setattr(contact_sheet, "CROPS", 2)  # each crop is another epoch, which takes time to start
    sheet = np.asarray(contact_sheet.contact_sheet(open_source(f"folder:{folder}"), seed=1))
    # Four of the five training files can be decoded.
    assert sheet.shape == (8 + 4 * (256 + 8 + 18), 8 + 3 * (256 + 8), 3)
    for row in range(4):
        top = 8 + row * (256 + 8 + 18) + 18
        cells = [sheet[top : top + 224, 8 + j * 264 : 8 + j * 264 + 224] for j in range(3)]
        assert len({cell.tobytes() for cell in cells}) == 3


def test_a_folder_without_a_single_image_has_no_contact_sheet(tmp_path):
    write_files(tmp_path, {"train/cat/a.jpg": b"no image"})
    with pytest.raises(ValueError, match="none of its training images can be decoded"):
        contact_sheet.contact_sheet(open_source(f"folder:{tmp_path}"))


def command(*args: str) -> Finished:
    return run_command("pipelines.inspect", *args)


def test_the_command_prints_its_findings_and_writes_the_sheet(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "CROPS", 1)
    sheet = tmp_path / "sheet.png"
    done = command(f"folder:{folder}", f"--output={sheet}")
    assert done.returncode == 0, done.stderr
    assert "train, files that cannot be opened (1): train/cat/broken.jpg" in done.stdout
    assert (
        "validation, images that another split has too (1): val/dog/b_too.jpg = train/dog/b.jpg (train)" in done.stdout
    )
    assert Image.open(sheet).format == "PNG"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "found 0 datasets, expected one"),
        (["photos", "--dataset=photos"], "found 2 datasets, expected one"),
        (["photos", "--output=sheet.jpg"], "--output=sheet.jpg: expected a name that ends in .png"),
    ],
)
def test_wrong_arguments_end_in_one_line(args, message):
    done = command(*args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
