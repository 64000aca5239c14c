import pytest

from pipelines.datasets import subset
from pipelines.datasets.registry import open_source
from tests.helpers.image_files import encode, photograph, write_files


@pytest.fixture
def source(tmp_path):
    image = encode(photograph())
    write_files(tmp_path, {f"train/class{c}/{i}.jpg": image for c in range(4) for i in range(5)})
    return open_source(f"folder:{tmp_path}")


def keys(source, *args) -> list[bytes]:
    return [key for _, _, key in source.encoded("train", *args).as_numpy_iterator()]


def test_a_subset_is_the_same_images_in_every_order(source):
    taken = subset.take(source, 8)
    assert taken.splits["train"] == 8
    first, second = keys(taken, 1), keys(taken, 2)
    assert set(first) == set(second) == set(keys(taken))
    assert len(set(first)) == 8
    assert first != second
    assert keys(taken, 1, 3) == first[3:]


def test_a_subset_of_a_folder_is_not_its_first_class(source):
    assert len({key.split(b"/")[1] for key in keys(subset.take(source, 8))}) > 1


def test_more_than_there_are_is_all(source):
    assert sorted(keys(subset.take(source, 100), 3)) == sorted(keys(source))
    assert subset.take(source, 100).splits["train"] == 20


def test_an_empty_subset_is_refused(source):
    with pytest.raises(ValueError, match=r"^take=0: expected at least 1$"):
        subset.take(source, 0)
