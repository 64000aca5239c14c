import pytest

from keras_alexnet.quickstart import create_work_dir


def test_a_directory_of_an_earlier_run_is_replaced(tmp_path):
    work = tmp_path / "build" / "quickstart"
    create_work_dir(work)
    (work / "old").touch()
    create_work_dir(work)
    assert not (work / "old").exists()


def test_a_directory_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ValueError, match=r"work_dir=.*: expected a new directory"):
        create_work_dir(tmp_path)
    assert (tmp_path / "photo.jpg").exists()


def test_a_directory_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^work_dir=.*/file/below: Not a directory; expected a directory"):
        create_work_dir(tmp_path / "file" / "below")
