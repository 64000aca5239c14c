"""The predict command, as it is typed."""

import pytest

from keras_alexnet import predict
from pipelines.cli import UsageError
from tests.helpers.colour_network import colour_network, write_images
from tests.helpers.commands import run_command

COMMAND = "keras_alexnet.predict"


@pytest.fixture
def model(tmp_path, monkeypatch):
    """--model of a network that is loaded without TensorFlow's SavedModel loader."""
    monkeypatch.setattr(
        "keras_alexnet.pretrained.load_network", lambda path, **keywords: colour_network(tmp_path / "m")
    )
    return "--model=m"


def assert_one_line(run, *words):
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, run.stderr
    assert all(word in run.stderr for word in words), run.stderr


def test_files_become_rows_and_the_exit_code_counts_broken_ones(model, tmp_path):
    images = write_images(tmp_path / "images", 40, broken=3)
    run = run_command(COMMAND, model, f"--images={images}/*.png", f"--output={tmp_path / 'o.jsonl'}", "--views=center")
    assert run.returncode == 1, run.stderr
    assert run.stdout.startswith(f"predictions of 40 images in {tmp_path / 'o.jsonl'}, ")
    assert "1 of them could not be read or decoded" in run.stdout
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 40
    arguments = [str(path) for path in sorted(images.iterdir())[5:9]]
    run = run_command(COMMAND, model, f"--output={tmp_path / 'o.csv'}", "--features", "--top_k=1", *arguments)
    assert run.returncode == 0 and "could not" not in run.stdout, run.stderr
    assert (tmp_path / "o.csv").read_text().splitlines()[1].startswith(arguments[0])


def test_shards_end_with_success_and_are_merged(model, tmp_path):
    images = write_images(tmp_path / "images", 40, broken=3)
    arguments = (COMMAND, model, f"--images={images}", f"--output={tmp_path / 'o.csv'}")
    for shard in ("0/2", "1/2"):
        run = run_command(*arguments, f"--shard={shard}")
        assert run.returncode == 0 and f"(shard {shard}; --merge joins them)" in run.stdout, run.stderr
    assert_one_line(run_command(*arguments, "--merge", "--shard=1/2"), "--merge")
    run = run_command(*arguments, "--merge")
    assert run.returncode == 1 and "predictions of 40 images joined in" in run.stdout, run.stderr
    assert_one_line(run_command(*arguments), "--output=", "exists already")


def test_wrong_flags_are_named(model, tmp_path):
    output = f"--output={tmp_path / 'o.csv'}"
    assert_one_line(run_command(COMMAND, model, output), "--images is missing")
    assert_one_line(run_command(COMMAND, model, f"--images={tmp_path / 'no.jpg'}", output), "--images=", "No such file")
    assert_one_line(run_command(COMMAND, model, f"--images={tmp_path}", output), "no image file in this directory")
    images = write_images(tmp_path / "images", 1)
    assert_one_line(run_command(COMMAND, model, f"--images={images}", "--output=o.xls"), "--output=o.xls", ".parquet")
    assert_one_line(run_command(COMMAND, model, f"--images={images}", output, "--batch_size=0"), "--batch_size")


@pytest.mark.parametrize("shard", ["3", "3/3", "-1/3", "a/b", "0/0"])
def test_wrong_shards_are_named(shard):
    with pytest.raises(UsageError, match=r"shard=.*expected i/n"):
        predict.parsed_shard(shard)
