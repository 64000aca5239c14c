import pickle
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from pipelines.datasets.class_order import devkit_wnids, ordered, read_class_list, read_label_names, reordered, select
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, image_folder, photograph, write_files

JPEG = encode(photograph())
KIT_FOX, ENGLISH_SETTER = "n02119789", "n02100735"


@pytest.fixture
def synsets(tmp_path: Path) -> str:
    files = {f"train/{wnid}/{index}.jpg": JPEG for wnid in (KIT_FOX, ENGLISH_SETTER) for index in range(3)}
    return f"folder:{write_files(tmp_path / 'synsets', files)}"


def assert_labels_follow_keys(source: Source) -> None:
    elements = [*source.encoded("train").as_numpy_iterator(), *source.encoded("train", 5).as_numpy_iterator()]
    for part in source.shards("train", 2):
        elements += pickle.loads(pickle.dumps(part)).encoded().as_numpy_iterator()
    assert len(elements) == 3 * source.splits["train"]
    for _, label, key in elements:
        assert source.class_names[label] == key.decode().split("/")[1]


def test_the_table_holds_imagenets_classes_by_the_numbers_of_its_development_kit(tmp_path):
    def names(dataset: str) -> list[str]:
        return tfds.builder(dataset, data_dir=tmp_path).info.features["label"].names

    wnids = devkit_wnids()
    assert sorted(wnids) == names("imagenet2012")
    # Whose labels are those numbers, less one.
    assert list(wnids) == names("imagenet_resized/8x8")
    # kit fox, English setter, Siberian husky, ..., dumbbell; the first validation image is a sea snake, of number 490.
    assert wnids[:3] == (KIT_FOX, ENGLISH_SETTER, "n02110185")
    assert wnids[-1] == "n03255030"
    assert wnids[490 - 1] == "n01751748"


def test_the_order_of_the_development_kit_is_followed(synsets, tmp_path):
    usual, devkit = open_source(synsets), open_source(synsets, class_order="devkit")
    assert usual.class_names == (ENGLISH_SETTER, KIT_FOX)
    assert devkit.class_names == (KIT_FOX, ENGLISH_SETTER)
    for source in (usual, devkit):
        assert_labels_follow_keys(source)


@pytest.mark.medium
def test_it_is_kept_in_prepared_records_and_can_be_changed_there(synsets, tmp_path):
    prepare(open_source(synsets, class_order="devkit"), tmp_path / "out")
    prepared = open_source(str(tmp_path / "out"))
    assert prepared.class_names == (KIT_FOX, ENGLISH_SETTER)
    assert_labels_follow_keys(prepared)
    prepare(open_source(synsets), tmp_path / "sorted")
    changed = open_source(str(tmp_path / "sorted"), class_order="devkit")
    assert changed.class_names == (KIT_FOX, ENGLISH_SETTER)
    assert_labels_follow_keys(changed)


def test_it_is_for_imagenets_classes_only(tmp_path):
    with pytest.raises(ValueError, match="class_order=devkit: found class 'cat', expected wnids"):
        open_source(f"folder:{image_folder(tmp_path)}", class_order="devkit")
    with pytest.raises(ValueError, match="class_order=random: expected one of sorted, devkit"):
        ordered(["cat"], "random")


def test_any_permutation_of_the_classes_will_do_but_no_other_list(tmp_path):
    source = open_source(f"folder:{image_folder(tmp_path)}")
    turned = reordered(source, ["dog", "cat"])
    assert turned.class_names == turned.label_names == ("dog", "cat")
    assert_labels_follow_keys(turned)
    assert reordered(source, ("cat", "dog")) is source
    for names in (["dog"], ["dog", "fox"], ["dog", "dog", "cat"]):
        with pytest.raises(ValueError, match="its classes differ"):
            reordered(source, names)


def test_display_names_change_places_with_their_classes(tmp_path):
    names = {"cat": "house cat", "dog": "dog"}
    prepare(open_source(f"folder:{image_folder(tmp_path / 'images')}"), tmp_path / "out", label_names=names)
    turned = reordered(open_source(str(tmp_path / "out")), ["dog", "cat"])
    assert turned.label_names == ("dog", "house cat")


def test_parts_of_some_classes_hold_their_images_only(tmp_path):
    source = open_source(f"folder:{image_folder(tmp_path)}")
    found = [key for part in select(source, "train", 2, ["dog"]) for _, label, key in part.encoded().as_numpy_iterator()
             if label == 0]  # fmt: skip
    assert sorted(found) == [f"train/dog/{index}.jpg".encode() for index in range(6)]


def test_a_list_of_classes_keeps_the_order_of_the_dataset(tmp_path):
    (tmp_path / "list").write_text("dog  a remark\n\nant\n")
    assert read_class_list(tmp_path / "list", ("ant", "cat", "dog")) == ("ant", "dog")


def test_display_names_are_read_for_each_class(tmp_path):
    (tmp_path / "names").write_text("n2 fox, red\nn1\tÉpagneul\nn3 of no interest\n", encoding="utf-8")
    assert read_label_names(tmp_path / "names", ("n1", "n2")) == {"n1": "Épagneul", "n2": "fox, red"}


def test_class_names_may_have_blanks_in_them(tmp_path):
    classes = ("red fox", "red", "dog")
    (tmp_path / "classes").write_bytes(b"\xef\xbb\xbfred fox\ndog a remark\n")
    assert read_class_list(tmp_path / "classes", classes) == ("red fox", "dog")
    (tmp_path / "names").write_text("red fox\tVulpes vulpes\nred\tcolour\ndog house dog\n")
    assert read_label_names(tmp_path / "names", classes) == {
        "red fox": "Vulpes vulpes",
        "red": "colour",
        "dog": "house dog",
    }


ODD_NAMES = ("a tab\there", "a tab", "a,b", 'q"', "größe 🐟", "k=v", "=1", "[red]", "#no", " lead", "tail ", "a\u2028b")


@pytest.mark.parametrize("blank", ["\t", " ", "  \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_class_names_may_have_any_characters_in_them(blank, end, tmp_path):
    (tmp_path / "classes").write_bytes(end.join(ODD_NAMES).encode())
    assert read_class_list(tmp_path / "classes", ("other", *ODD_NAMES)) == ODD_NAMES
    shown = {name: f"{index}, the name" for index, name in enumerate(ODD_NAMES)}
    (tmp_path / "names").write_bytes("".join(f"{name}{blank}{shown[name]}{end}" for name in shown).encode())
    assert read_label_names(tmp_path / "names", ODD_NAMES) == shown


@pytest.mark.parametrize(
    ("read", "content", "expected"),
    [
        (read_class_list, b"cat\nfox\n", "classes_file=.*: found 'fox', expected classes of the dataset"),
        (read_class_list, b"\n", "found no class"),
        (read_class_list, b"\xff\xfe\x00", "not a text file"),
        (
            read_label_names,
            b"cat house cat\ndog\n",
            r"label_names_file=.*: no line with 'dog', a tab .*\(1 such\)",
        ),
        (read_label_names, b"", r"no line with 'cat', a tab and its name \(2 such\)"),
    ],
)
def test_a_file_that_does_not_fit_is_named(read, content: bytes, expected: str, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        read(tmp_path / "file", ("cat", "dog"))
    with pytest.raises(ValueError, match=r"_file=.*/nowhere: No such file"):
        read(tmp_path / "nowhere", ("cat", "dog"))
