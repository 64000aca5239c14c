"""Image files among files, directories and patterns."""

import os
from pathlib import Path

import pytest

from pipelines.cli.regular_files import unreadable_reason
from pipelines.images.find import find_image_files, image_format


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    images = ("b.PNG", "a.jpg", ".hidden.jpg", "deep/c [1].jpeg", "deep/.git/d.jpg", "other/e.jfif")
    for name in (*images, "notes.txt", "other/folder.webp/notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "argument, found",
    [
        ("photos", ["a.jpg", "b.PNG", "deep/c [1].jpeg", "other/e.jfif"]),
        ("photos/deep/", ["deep/c [1].jpeg"]),
        ("photos/*.jpg", ["a.jpg"]),
        ("photos/**/*.jp*g", ["a.jpg", "deep/c [1].jpeg"]),
        ("photos/[ab].*", ["a.jpg", "b.PNG"]),
        ("photos/deep/c [1].jpeg", ["deep/c [1].jpeg"]),
        ("photos/notes.txt", ["notes.txt"]),
    ],
)
def test_arguments_name_files(photos, argument, found):
    assert find_image_files([argument]).files == [f"photos/{name}" for name in found]
    assert find_image_files([str(photos.parent / argument)]).files == [str(photos / name) for name in found]


def test_files_come_in_the_order_of_the_arguments_and_named_files_as_often_as_named(photos):
    found = find_image_files(["photos/b.PNG", "photos/b.PNG", "photos"])
    names = ["b.PNG", "b.PNG", "a.jpg", "deep/c [1].jpeg", "other/e.jfif"]
    assert found.files == [f"photos/{name}" for name in names]
    assert found.ignored["photos/b.PNG"] == "visited before"


def test_what_is_left_out_is_named_with_the_reason(photos):
    assert find_image_files(["photos"]).ignored == {
        "photos/.hidden.jpg": "hidden",
        "photos/deep/.git": "hidden",
        "photos/notes.txt": "no image by its suffix",
        "photos/other/folder.webp/notes.txt": "no image by its suffix",
    }


def test_only_regular_files_are_found_and_the_others_are_bad(photos):
    os.mkfifo(photos / "pipe.jpg")
    (photos / "zero.png").symlink_to("/dev/zero")
    (photos / "broken.jpg").symlink_to("nowhere")
    (photos / "self.jpg").symlink_to("self.jpg")
    found = find_image_files(["photos", "photos/missing.jpg", "photos/*.tiff"])
    assert len(found.files) == 4
    assert found.bad == {
        "photos/broken.jpg": "a broken link",
        "photos/pipe.jpg": "a named pipe, not a regular file",
        "photos/self.jpg": "a broken link",
        "photos/zero.png": "a device, not a regular file",
        "photos/missing.jpg": "No such file or directory",
        "photos/*.tiff": "No such file or directory",
    }
    assert unreadable_reason("photos/a.jpg") is None
    assert unreadable_reason("photos\0") == "not a path"


@pytest.mark.parametrize("argument", ["photos", "photos/**/*"])
def test_links_to_directories_are_followed_once(photos, argument):
    before = len(find_image_files([argument]).files)
    for name in ("loop", "deep/loop", "other/again"):
        (photos / name).symlink_to(photos)
    (photos / "elsewhere").symlink_to(photos / "deep")
    (photos / "same.jpg").symlink_to(photos / "a.jpg")
    found = find_image_files([argument])
    assert len(found.files) == before
    assert found.ignored["photos/same.jpg"] == "visited before"


def test_a_directory_without_images_is_refused(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no image file in this directory; expected names that end in .*jpg"):
        find_image_files(["photos", "empty"])


def test_formats_are_told_by_the_first_bytes():
    assert [image_format(start) for start in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"hello", b"")] == [
        "jpeg",
        "png",
        None,
        None,
    ]
