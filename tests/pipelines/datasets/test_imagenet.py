from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.class_order import devkit_wnids
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, photograph, pixels, write_files

JPEG = encode(photograph())
# ILSVRC2012_IDs 1 and 2; sorted, they change places.
KIT_FOX, ENGLISH_SETTER = "n02119789", "n02100735"
TRAINING = {
    f"train/{KIT_FOX}/{KIT_FOX}_1.JPEG": encode(photograph(seed=1)),
    f"train/{ENGLISH_SETTER}/{ENGLISH_SETTER}_1.JPEG": encode(photograph(seed=2)),
    f"train/{ENGLISH_SETTER}/{ENGLISH_SETTER}_2.JPEG": encode(photograph(seed=3)),
}
FLAT = {f"val/ILSVRC2012_val_{number:08d}.JPEG": encode(photograph(seed=number)) for number in (1, 2, 3)}
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def examples(source: Source, split: str) -> dict[str, str]:
    """Class name by key."""
    return {key.decode(): source.class_names[label] for _, label, key in source.encoded(split).as_numpy_iterator()}


def kaggle_solution(wnids: dict[int, str]) -> bytes:
    rows = [f"ILSVRC2012_val_{number:08d},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for number, wnid in wnids.items()]
    return "\n".join(["ImageId,PredictionString", *rows, ""]).encode()


def message(root: Path) -> str:
    with pytest.raises(ValueError) as raised:
        open_source(f"ilsvrc:{root}")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"dataset=ilsvrc:{root}: ")
    return str(raised.value)


@pytest.mark.parametrize("folder", ["", "data/", "ILSVRC2012_devkit_t12/data/"])
def test_a_flat_val_folder_is_labelled_by_the_development_kit(folder: str, tmp_path):
    write_files(tmp_path, TRAINING | FLAT | {folder + GROUND_TRUTH: b"2\n1\n2\n"})
    source = open_source(f"ilsvrc:{tmp_path}")
    assert source.class_names == (ENGLISH_SETTER, KIT_FOX)
    assert source.splits == {"train": 3, "validation": 3}
    assert examples(source, "train") == {key: key.split("/")[1] for key in TRAINING}
    assert list(examples(source, "validation").values()) == [ENGLISH_SETTER, KIT_FOX, ENGLISH_SETTER]


def test_a_val_image_is_labelled_by_its_number_even_where_others_are_missing(tmp_path):
    write_files(tmp_path, TRAINING | {GROUND_TRUTH: b"2\n1\n2\n"} | dict(list(FLAT.items())[1:2]))
    assert examples(open_source(f"ilsvrc:{tmp_path}"), "validation") == {"val/ILSVRC2012_val_00000002.JPEG": KIT_FOX}


def test_a_val_folder_of_synsets_needs_no_labels(tmp_path):
    files = {f"val/{KIT_FOX}/ILSVRC2012_val_00000007.JPEG": JPEG}
    source = open_source(f"ilsvrc:{write_files(tmp_path, TRAINING | files)}")
    assert examples(source, "validation") == {next(iter(files)): KIT_FOX}


def test_kaggles_layout_is_read_without_its_unlabelled_test_images(tmp_path):
    unlabelled = {"test/ILSVRC2012_test_00000001.JPEG": JPEG}
    images = {f"ILSVRC/Data/CLS-LOC/{name}": content for name, content in (TRAINING | FLAT | unlabelled).items()}
    solution = {"LOC_val_solution.csv": kaggle_solution({3: KIT_FOX, 1: KIT_FOX, 2: ENGLISH_SETTER})}
    source = open_source(f"ilsvrc:{write_files(tmp_path, images | solution)}")
    assert source.splits == {"train": 3, "validation": 3}
    assert list(examples(source, "validation").values()) == [KIT_FOX, ENGLISH_SETTER, KIT_FOX]


def test_the_odd_files_of_imagenet_come_out_right(tmp_path):
    # A PNG by the name of JPEG, and CMYK.
    odd = {
        f"train/{KIT_FOX}/n02105855_2933.JPEG": encode(photograph(seed=5), "PNG"),
        f"train/{KIT_FOX}/n01739381_1309.JPEG": encode(photograph(seed=5).convert("CMYK")),
    }
    summary = prepare(open_source(f"ilsvrc:{write_files(tmp_path / 'images', odd)}"), tmp_path / "out")
    assert summary["bad_images"] == {}
    stored = {key.decode(): pixels(data) for data, _, key in open_source(f"{tmp_path}/out").encoded("train")
              .as_numpy_iterator()}  # fmt: skip
    one, other = (stored[key].astype(int) for key in odd)
    assert np.abs(one - other).mean() < 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"n02119789/1.JPEG": JPEG}, "no folder train/ in it, expected train/<wnid>"),
        (TRAINING | FLAT, f"neither {GROUND_TRUTH} nor LOC_val_solution.csv is in "),
        (TRAINING | FLAT | {GROUND_TRUTH: b"2\n1\n77\n"}, f"3.JPEG is of class {devkit_wnids()[76]}, which is not in"),
        (TRAINING | FLAT | {GROUND_TRUTH: b"2\n1\n"}, "val_00000003.JPEG is of class None"),
        (TRAINING | FLAT | {GROUND_TRUTH: b"2\n0\n1\n"}, f"{GROUND_TRUTH} is broken"),
        (TRAINING | FLAT | {GROUND_TRUTH: b"2\n1001\n1\n"}, f"{GROUND_TRUTH} is broken"),
        (TRAINING | FLAT | {GROUND_TRUTH: b""}, f"{GROUND_TRUTH} is broken"),
        (TRAINING | FLAT | {"LOC_val_solution.csv": b"a,b\n1,2\n"}, "LOC_val_solution.csv is broken"),
        (TRAINING | {"val/readme.txt": b"", GROUND_TRUTH: b"1\n"}, "no ILSVRC2012_val_"),
    ],
)  # fmt: skip
def test_another_layout_is_refused(files: dict[str, bytes], expected: str, tmp_path):
    assert expected in message(write_files(tmp_path, files))


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    assert "no folder train/" in message(tmp_path / "nowhere")
