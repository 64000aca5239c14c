import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import encode, image_folder, photograph, pixels, write_files

from pipelines.command import InputError
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


def test_files_of_many_kinds_are_stored_and_the_broken_ones_named_and_skipped(tmp_path, capsys):
    good = {
        "grey.jpg": encode(photograph().convert("L")),
        "cmyk.jpg": encode(photograph().convert("CMYK")),
        "alpha.png": encode(photograph().convert("RGBA"), "PNG"),
        "misnamed.JPEG": encode(photograph(), "PNG"),
        "turned.jpg": encode(photograph(256, 320), orientation=6),
    }
    broken = {"cut.jpg": encode(photograph(300, 300))[:2000], "empty.png": b"", "text.jpg": b"hello"}
    write_files(tmp_path / "images/train/cat", good | broken)
    prepare(folder_source(tmp_path / "images"), tmp_path / "out", max_bad_fraction=0.4)
    stored = records(open_source(str(tmp_path / "out")), "train")
    assert set(stored) == {f"train/cat/{name}" for name in good}
    errors = capsys.readouterr().err
    for name in broken:
        assert f"skipped train/cat/{name}: " in errors
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


def test_preparing_twice_gives_the_same_records(images, tmp_path):
    for name in ("one", "two"):
        prepare(folder_source(images), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert [(tmp_path / "one" / name).read_bytes() for name in files if "tfrecord" in name] == [
        (tmp_path / "two" / name).read_bytes() for name in files if "tfrecord" in name
    ]


def test_more_bad_images_than_allowed_publish_nothing(images, tmp_path):
    write_files(images, {"train/cat/bad1.jpg": b"1", "val/dog/bad2.jpg": b"2"})
    with pytest.raises(InputError, match=r"2 of 18 images .*bad1.jpg, .*bad2.jpg.* --max_bad_fraction=0.1 "):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
    prepare(folder_source(images), tmp_path / "out", max_bad_fraction=2 / 18)


def test_a_split_without_a_single_good_image_publishes_nothing(images, tmp_path):
    for path in images.glob("val/*/*"):
        path.write_bytes(b"text")
    with pytest.raises(InputError, match="none of 4 validation images can be decoded"):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


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

    monkeypatch.setattr(tfds.core.SequentialWriter, "add_examples", full)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_command_cleans_up(number: signal.Signals, tmp_path):
    # Far more work than can be done before the signal comes.
    images = write_files(tmp_path / "images", {"train/cat/0.jpg": encode(photograph(1500, 1500))})
    for index in range(1, 3000):
        os.link(images / "train/cat/0.jpg", images / f"train/cat/{index}.jpg")
    command = [sys.executable, "-m", "pipelines.prepare", f"--dataset=folder:{images}", f"--output_dir={tmp_path}/out"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not list(tmp_path.glob("out.incomplete-*")):
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(number)
            assert process.wait(30) == 130
            assert process.stderr.read() == "interrupted: nothing was written\n"
        finally:
            process.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
