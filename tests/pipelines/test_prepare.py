import json
import shlex
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import encode, image_folder, photograph, pillow_stored_view, pixels, write_files
from PIL import Image

from pipelines.command import InputError
from pipelines.parts import Tally
from pipelines.prepare import prepare
from pipelines.sources import Source, open_source
from pipelines.statistics import scan


def folder_source(root: Path) -> Source:
    return open_source(f"folder:{root}")


def records(source: Source, split: str) -> dict[str, tuple[bytes, int]]:
    return {key.decode(): (encoded, label) for encoded, label, key in source.encoded(split).as_numpy_iterator()}


def run_command(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipelines.prepare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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
    np.testing.assert_array_equal(scan(prepared)[0].mean_image, prepared.statistics.mean_image)


def test_records_are_readable_by_plain_tfds_and_mixed_over_the_classes(images, tmp_path):
    prepare(folder_source(images), tmp_path / "out")
    builder = tfds.builder_from_directory(tmp_path / "out")
    examples = list(builder.as_dataset("train").as_numpy_iterator())
    assert examples[0]["image"].shape == (256, 256, 3)
    assert builder.info.features["label"].names == ["cat", "dog"]
    labels = [int(example["label"]) for example in examples]
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


def test_the_summary_is_for_people(images, tmp_path):
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


def png_that_claims(width: int, height: int) -> bytes:
    start = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + start + struct.pack(">I", zlib.crc32(start))


def test_files_of_many_kinds_are_stored_and_the_broken_ones_named_and_skipped(tmp_path, capsys):
    frames = {"save_all": True, "append_images": [photograph(seed=9)]}
    sixteen_bits = Image.fromarray(np.asarray(photograph().convert("L")).astype(np.uint16) * 257)
    good = {
        "grey.jpg": encode(photograph().convert("L")),
        "cmyk.JPEG": encode(photograph().convert("CMYK")),
        "alpha.png": encode(photograph().convert("RGBA"), "PNG"),
        "16bit.png": encode(sixteen_bits, "PNG"),
        "png.JPEG": encode(photograph(), "PNG"),
        "gif.JPEG": encode(photograph(), "GIF"),
        "webp.JPEG": encode(photograph(), "WEBP", quality=95),
        "bmp.JPEG": encode(photograph(), "BMP"),
        "animated.gif": encode(photograph(), "GIF", **frames),
        "dot.jpg": encode(photograph(1, 1)),
        "strip.jpg": encode(photograph(10, 10_000)),
    }
    broken = {
        "cut.jpg": (encode(photograph(300, 300))[:2000], "Invalid JPEG data"),
        "empty.png": (b"", "not an image file"),
        "text.jpg": (b"hello", "not an image file"),
        "bomb.png": (png_that_claims(60_000, 60_000), "more than 50,000,000 pixels"),
        "animated.webp": (encode(photograph(), "WEBP", **frames), "animated WebP"),
    }
    turned = {"turned.jpg": encode(photograph(256, 320), orientation=6)}
    images = write_files(
        tmp_path / "images/train/cat", good | turned | {n: content for n, (content, _) in broken.items()}
    )
    summary = prepare(folder_source(tmp_path / "images"), tmp_path / "out", max_bad_fraction=0.4)
    stored = records(open_source(str(tmp_path / "out")), "train")
    assert set(stored) == {f"train/cat/{name}" for name in good | turned}
    errors = capsys.readouterr().err
    for name, (_, reason) in broken.items():
        assert reason in summary["bad_images"].pop(f"train/cat/{name}")
        assert f"skipped train/cat/{name}: " in errors
    assert summary["bad_images"] == {}
    for name in good:
        # 16 bits are more than Pillow's conversion to RGB can do.
        original = photograph().convert("L").convert("RGB") if name == "16bit.png" else Image.open(images / name)
        difference = pixels(stored[f"train/cat/{name}"][0]).astype(int) - pillow_stored_view(original.convert("RGB"))
        assert np.abs(difference).mean() < 3, name
    # Orientation 6 is shown turned clockwise: what was the left edge is now on top.
    upright = np.rot90(np.asarray(photograph(256, 320))[:, 32:288], 3)
    assert np.abs(pixels(stored["train/cat/turned.jpg"][0]).astype(int) - upright).mean() < 3


def test_an_image_that_is_stored_size_already_is_kept_to_the_byte(tmp_path):
    original = encode(photograph(256, 256))
    write_files(tmp_path / "images", {"train/cat/1.jpg": original})
    prepare(folder_source(tmp_path / "images"), tmp_path / "out")
    assert records(open_source(str(tmp_path / "out")), "train") == {"train/cat/1.jpg": (original, 0)}


def test_the_resize_policy_travels_with_the_records(images, tmp_path):
    prepare(folder_source(images), tmp_path / "warped", resize="warp")
    prepare(folder_source(images), tmp_path / "cut", resize="shorter_side")
    warped, cut = (open_source(str(tmp_path / name)) for name in ("warped", "cut"))
    assert (warped.resize, cut.resize) == ("warp", "shorter_side")
    assert records(warped, "train") != records(cut, "train")


def test_the_quality_of_the_stored_jpeg_can_be_chosen(images, tmp_path):
    for quality in (60, 95):
        assert prepare(folder_source(images), tmp_path / f"{quality}", quality=quality)["quality"] == quality
    rough, fine = (records(open_source(str(tmp_path / name)), "train") for name in ("60", "95"))
    for key, (encoded, _) in rough.items():
        assert len(encoded) < len(fine[key][0])


def test_a_few_images_of_each_split_can_be_taken_for_a_trial(images, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.prepare._IMAGES_PER_PART", 3)
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


def test_more_bad_images_than_allowed_publish_nothing(images, tmp_path):
    write_files(images, {"train/cat/bad1.jpg": b"1", "val/dog/bad2.jpg": b"2"})
    with pytest.raises(InputError, match=r"2 of 18 images .*bad1.jpg, .*bad2.jpg.* --max_bad_fraction=0.1 "):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.incomplete"]
    prepare(folder_source(images), tmp_path / "out", max_bad_fraction=2 / 18)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]


def test_too_many_bad_images_stop_the_preparation_before_all_are_read(images, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.prepare._IMAGES_PER_PART", 4)
    for path in images.glob("train/*/*"):
        path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"4 of the first 4 images .*max_bad_fraction=0.1 allows for all 16$"):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=0.1)
    assert not (tmp_path / "out").exists()


def test_a_split_without_a_single_good_image_publishes_nothing(images, tmp_path):
    for path in images.glob("val/*/*"):
        path.write_bytes(b"text")
    with pytest.raises(InputError, match="none of 4 validation images can be decoded"):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=1)
    assert not (tmp_path / "out").exists()


def test_an_existing_output_is_refused_and_left_alone(images, tmp_path):
    write_files(tmp_path / "out", {"precious.txt": b"kept"})
    with pytest.raises(InputError, match=r"--output_dir=.*out: exists already"):
        prepare(folder_source(images), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_an_output_that_cannot_be_made_is_named(images, tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "nowhere/out", tmp_path / "file/out"):
        with pytest.raises(InputError, match=r"--output_dir=.*/out: no folder"):
            prepare(folder_source(images), output)


def test_what_is_prepared_is_not_prepared_again(images, tmp_path):
    prepare(folder_source(images), tmp_path / "out")
    with pytest.raises(InputError, match="is prepared already"):
        prepare(open_source(str(tmp_path / "out")), tmp_path / "again")


def test_an_error_while_writing_leaves_nothing(images, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Tally, "save", full)
    with pytest.raises(InputError, match=r"--output_dir=.*/out: cannot be written: .*No space left on device"):
        prepare(folder_source(images), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_file_that_vanishes_is_named(images, tmp_path):
    source = folder_source(images)
    (images / "train/cat/3.jpg").unlink()
    with pytest.raises(InputError, match=r"reading train failed: .*train/cat/3.jpg; No such file") as raised:
        prepare(source, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_flags_for_classes_and_names_read_files(images, tmp_path):
    lists = write_files(
        tmp_path / "lists", {"classes": b"dog and more\n", "names": b"dog\thunting dog, hound\nfox fox\n"}
    )
    done = run_command(
        f"--dataset=folder:{images}", f"--output_dir={tmp_path}/out", f"--classes_file={lists}/classes",
        f"--label_names_file={lists}/names", "--take=2", "--quality=80",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    prepared = open_source(f"{tmp_path}/out")
    assert (prepared.class_names, prepared.label_names) == (("dog",), ("hunting dog, hound",))
    assert prepared.splits == {"train": 2, "validation": 2}


def test_the_command_ends_with_one_line_that_says_how_to_train(images, tmp_path):
    output = tmp_path / "with space"
    done = run_command(f"--dataset=folder:{images}", f"--output_dir={output}")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert line.startswith("prepared 12 train, 4 validation images in ")
    command = shlex.split(line.split("train on them: ")[1])
    assert command[:3] == ["python", "-m", "keras_alexnet.train"]
    assert f"--dataset={output}" in command


def test_the_command_names_the_flags_that_are_missing():
    done = run_command()
    assert (done.returncode, done.stderr) == (1, "error: missing --dataset, --output_dir (--help lists the flags)\n")


def test_the_command_answers_mistakes_with_one_line(images, tmp_path):
    done = run_command("--dataset=folder:/no/where", f"--output_dir={tmp_path}/out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: --dataset=folder:/no/where: no such folder, expected one with train/<class>/* and val/<class>/*\n"
    )
