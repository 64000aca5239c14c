import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.preparation.compute_statistics import compute_statistics
from pipelines.preparation.prepare import prepare
from pipelines.preparation.shard import ShardStatistics
from tests.helpers.image_files import encode, image_folder, photograph, pixels, write_files


def folder_source(root: Path) -> Source:
    return open_source(f"folder:{root}")


def records(source: Source, split: str) -> dict[str, tuple[bytes, int]]:
    return {key.decode(): (encoded, label) for encoded, label, key in source.encoded(split).as_numpy_iterator()}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "images")


def test_what_was_prepared_opens_as_a_source_with_the_original_keys_and_labels(images, tmp_path):
    source = folder_source(images)
    prepare(source, tmp_path / "out")
    prepared = open_source(str(tmp_path / "out"))
    assert (prepared.prepared, prepared.resize, prepared.class_names) == (True, "shorter_side", ("cat", "dog"))
    assert prepared.splits == source.splits == {"train": 12, "validation": 4}
    for split in source.splits:
        originals = records(source, split)
        stored = records(prepared, split)
        assert {key: label for key, (_, label) in stored.items()} == {
            key: label for key, (_, label) in originals.items()
        }
        for encoded, _ in stored.values():
            assert pixels(encoded).shape == (256, 256, 3)


def test_statistics_are_those_of_the_stored_training_pixels(images, tmp_path):
    prepare(folder_source(images), tmp_path / "out")
    prepared = open_source(str(tmp_path / "out"))
    stored = np.stack([pixels(encoded) for encoded, _ in records(prepared, "train").values()]).astype(np.float64)
    assert prepared.statistics.count == 12
    np.testing.assert_allclose(prepared.statistics.mean_image, stored.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(prepared.statistics.rgb_mean, stored.mean(axis=(0, 1, 2)), rtol=1e-12)
    covariance = np.cov(stored.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(prepared.statistics.rgb_covariance, covariance, rtol=1e-9)
    np.testing.assert_array_equal(compute_statistics(prepared)[0].mean_image, prepared.statistics.mean_image)


def test_records_are_readable_by_plain_tfds_and_mixed_over_the_classes(images, tmp_path):
    prepare(folder_source(images), tmp_path / "out")
    builder = tfds.builder_from_directory(tmp_path / "out")
    examples = list(builder.as_dataset("train").as_numpy_iterator())
    assert examples[0]["image"].shape == (256, 256, 3)
    assert builder.info.features["label"].names == ["cat", "dog"]
    labels = [int(example["label"]) for example in examples]
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


def test_the_summary_says_what_was_stored_and_skipped(images, tmp_path):
    write_files(images, {"train/cat/bad.jpg": b"text"})
    returned = prepare(folder_source(images), tmp_path / "out", max_bad_fraction=0.5)
    summary = json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8"))
    assert summary == returned
    assert summary["source"] == f"folder:{images}"
    assert summary["resize"] == "shorter_side"
    assert summary["splits"]["train"] == {"images": 12, "classes": {"cat": 6, "dog": 6}}
    assert summary["splits"]["validation"] == {"images": 4, "classes": {"cat": 2, "dog": 2}}
    assert list(summary["bad_images"]) == ["train/cat/bad.jpg"]
    assert len(summary["rgb_mean"]) == len(summary["eigenvalues"]) == 3
    assert summary["versions"]["tensorflow"].startswith("2.")


def test_an_image_that_is_stored_size_already_is_kept_to_the_byte(tmp_path):
    original = encode(photograph(256, 256))
    write_files(tmp_path / "images", {"train/cat/1.jpg": original})
    prepare(folder_source(tmp_path / "images"), tmp_path / "out")
    assert records(open_source(str(tmp_path / "out")), "train") == {"train/cat/1.jpg": (original, 0)}


@pytest.mark.medium
def test_the_resize_policy_travels_with_the_records(images, tmp_path):
    prepare(folder_source(images), tmp_path / "warped", resize="warp")
    prepare(folder_source(images), tmp_path / "cut", resize="shorter_side")
    warped, cut = (open_source(str(tmp_path / name)) for name in ("warped", "cut"))
    assert (warped.resize, cut.resize) == ("warp", "shorter_side")
    assert records(warped, "train") != records(cut, "train")


@pytest.mark.medium
def test_the_quality_of_the_stored_jpeg_can_be_chosen(images, tmp_path):
    for quality in (60, 95):
        assert prepare(folder_source(images), tmp_path / f"{quality}", quality=quality)["quality"] == quality
    rough, fine = (records(open_source(str(tmp_path / name)), "train") for name in ("60", "95"))
    for key, (encoded, _) in rough.items():
        assert len(encoded) < len(fine[key][0])


@pytest.mark.medium
def test_a_few_images_of_each_split_can_be_taken_for_a_trial(images, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.preparation.prepare._IMAGES_PER_SHARD", 3)
    prepare(folder_source(images), tmp_path / "out", take=7)
    prepared = open_source(str(tmp_path / "out"))
    assert prepared.splits == {"train": 7, "validation": 4}
    assert records(prepared, "train").keys() < records(folder_source(images), "train").keys()


def test_some_classes_can_be_kept_in_an_order_of_their_own(tmp_path):
    names = ("ant", "bee", "cat")
    files = {f"{split}/{name}/{index}.jpg": encode(photograph(seed=index)) for split in ("train", "val")
             for name in names for index in range(3)}  # fmt: skip
    source = folder_source(write_files(tmp_path / "images", files))
    prepare(source, tmp_path / "out", classes=("cat", "ant"), label_names={"cat": "house cat", "ant": "ant"})
    prepared = open_source(str(tmp_path / "out"))
    assert (prepared.class_names, prepared.label_names) == (("cat", "ant"), ("house cat", "ant"))
    assert prepared.splits == {"train": 6, "validation": 6}
    for key, (_, label) in records(prepared, "train").items():
        assert key.split("/")[1] == prepared.class_names[label]
    assert prepared.statistics.count == 6


def test_an_existing_output_is_refused_and_left_alone(images, tmp_path):
    write_files(tmp_path / "out", {"precious.txt": b"kept"})
    with pytest.raises(ValueError, match=r"output_dir=.*out: exists already"):
        prepare(folder_source(images), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_an_output_that_cannot_be_made_is_named(images, tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "nowhere/out", tmp_path / "file/out"):
        with pytest.raises(ValueError, match=r"output_dir=.*/out: no directory"):
            prepare(folder_source(images), output)


def test_a_prepared_source_is_not_prepared_again(images, tmp_path):
    prepare(folder_source(images), tmp_path / "out")
    with pytest.raises(ValueError, match="is prepared already"):
        prepare(open_source(str(tmp_path / "out")), tmp_path / "again")


@pytest.mark.medium
def test_a_part_of_the_classes_of_a_prepared_source_is_copied(images, tmp_path):
    prepare(folder_source(images), tmp_path / "out", label_names={"cat": "Felis catus", "dog": "Canis familiaris"})
    whole = open_source(str(tmp_path / "out"))
    for change in ({"size": 64}, {"resize": "warp"}):
        with pytest.raises(ValueError, match=r"=.*out was prepared with .*, and its images are not changed"):
            prepare(whole, tmp_path / "part", classes=["dog"], **change)
    prepare(whole, tmp_path / "part", classes=["dog"])
    part = open_source(str(tmp_path / "part"))
    assert (part.class_names, part.label_names) == (("dog",), ("Canis familiaris",))
    for split in whole.splits:
        copied = {key: (image, 0) for key, (image, label) in records(whole, split).items() if label == 1}
        assert records(part, split) == copied and len(copied) > 1
    # Statistics are those of the part.
    alone = compute_statistics(part)[0]
    np.testing.assert_array_equal(part.statistics.mean_image, alone.mean_image)
    assert part.statistics.count == part.splits["train"] < whole.splits["train"]


def test_shards_of_different_prepared_directories_are_not_taken_for_each_other(images, tmp_path):
    for name in ("one", "two"):
        prepare(folder_source(images), tmp_path / name)
    first, second = (open_source(str(tmp_path / name)).shards("train", 1)[0] for name in ("one", "two"))
    assert first.fingerprint != second.fingerprint


def test_an_error_while_writing_leaves_nothing(images, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardStatistics, "save", full)
    with pytest.raises(ValueError, match=r"output_dir=.*/out: cannot be written: .*No space left on device"):
        prepare(folder_source(images), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_file_that_vanishes_is_named(images, tmp_path):
    source = folder_source(images)
    (images / "train/cat/3.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of .* images cannot be decoded \(train/cat/3.jpg\)") as raised:
        prepare(source, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_directories_may_have_any_name(tmp_path):
    odd = tmp_path / "a[b] *? {x} é ~"
    image_folder(odd / "images [1]*")
    prepare(folder_source(odd / "images [1]*"), odd / "out [1]*")
    prepared = open_source(str(odd / "out [1]*"))
    assert len(records(prepared, "train")) == prepared.splits["train"] == 12
    assert len(list(prepared.shards("train", 2)[0].encoded())) == 6
