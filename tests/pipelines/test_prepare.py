import shlex
from pathlib import Path

import pytest

from pipelines.datasets.registry import open_source
from tests.helpers.commands import Finished, run_command
from tests.helpers.image_files import image_folder, write_files


def prepare(*arguments: str) -> Finished:
    return run_command("pipelines.prepare", *arguments)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "images")


def test_flags_for_classes_and_names_read_files(images, tmp_path):
    lists = write_files(
        tmp_path / "lists", {"classes": b"dog and more\n", "names": b"dog\thunting dog, hound\nfox fox\n"}
    )
    done = prepare(
        f"--dataset=folder:{images}", f"--output_dir={tmp_path}/out", f"--classes_file={lists}/classes",
        f"--label_names_file={lists}/names", "--take=2", "--quality=80", "--size=40",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    prepared = open_source(f"{tmp_path}/out")
    assert (prepared.class_names, prepared.label_names) == (("dog",), ("hunting dog, hound",))
    assert prepared.splits == {"train": 2, "validation": 2}
    assert done.stdout.endswith(", with --network or --image_size for images of at most 40 pixels\n")


def test_the_command_ends_with_one_line_that_says_how_to_train(images, tmp_path):
    output = tmp_path / "with space"
    done = prepare(f"--dataset=folder:{images}", f"--output_dir={output}")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert line.startswith("prepared 12 train, 4 validation images in ")
    command = shlex.split(line.split("train on them: ")[1])
    assert command[:3] == ["python", "-m", "keras_alexnet.train"]
    assert f"--dataset={output}" in command


def test_the_command_names_the_flags_that_are_missing():
    done = prepare()
    assert (done.returncode, done.stderr) == (1, "error: missing --dataset, --output_dir (--help lists the flags)\n")


def test_the_command_answers_mistakes_with_one_line(images, tmp_path):
    done = prepare("--dataset=folder:/no/where", f"--output_dir={tmp_path}/out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: --dataset=folder:/no/where: no such folder, expected one with train/<class>/* and val/<class>/*, "
        "or <class>/*\n"
    )
