"""Every path that a command takes: devices, pipes, loops and files of gigabytes are refused in one line, unread."""

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

import keras_alexnet
from keras_alexnet.visualize import neighbours
from pipelines.datasets.image_folder import open_folder
from tests.helpers.commands import run_command
from tests.helpers.image_files import encode, image_folder, photograph

HUGE = 5 * 2**30
MOST_MB, MOST_SECONDS = 300, 60

CASES = {
    "flagfile": ("pipelines.prepare", "--flagfile={x}.flags"),
    "class list": ("pipelines.prepare", "--dataset=folder:{folder}", "--output_dir={new}", "--classes_file={x}.txt"),
    "label names": (
        "pipelines.prepare",
        "--dataset=folder:{folder}",
        "--output_dir={new}",
        "--label_names_file={x}.txt",
    ),
    "image folder": ("pipelines.prepare", "--dataset=folder:{x}", "--output_dir={new}"),
    "prepared directory": ("keras_alexnet.train", "--dataset={x}", "--model_dir={new}"),
    "output directory": ("pipelines.prepare", "--dataset=folder:{folder}", "--output_dir={x}"),
    "run directory": ("keras_alexnet.evaluate", "--model={x}"),
    "initial weights": ("keras_alexnet.train", "--dataset=folder:{folder}", "--model_dir={new}", "--init_from={x}.h5"),
    "class weights": (
        "keras_alexnet.train",
        "--dataset=folder:{folder}",
        "--model_dir={new}",
        "--batch_size=2",
        "--class_weights={x}.csv",
    ),
    "weights": ("keras_alexnet.convert", "--model={x}.pth", "--output={new}.keras"),
    "converted": ("keras_alexnet.convert", "--model={model}", "--output={x}.keras"),
    "mean": ("keras_alexnet.export", "--model={model}", "--export_base={new}", "--mean={x}.npy"),
    "class names": ("keras_alexnet.export", "--model={model}", "--export_base={new}", "--class_names={x}.txt"),
    "list of images": ("keras_alexnet.predict", "--model={model}", "--images={x}.txt", "--output={new}.csv"),
    "base path": ("serving.server.__main__", "--model_base_path={x}", "--port=0"),
    "models": ("serving.server.__main__", "--model_config_file={x}", "--port=0"),
    "server certificate": (
        "serving.server.__main__",
        "--model_base_path={folder}",
        "--ssl_config_file={x}",
        "--port=0",
    ),
    "client image": ("serving.client.__main__", "--server=127.0.0.1:1", "--timeout_s=1", "{x}.jpg"),
    "certificate": ("serving.client.__main__", "--server=127.0.0.1:1", "--ca_certificate={x}.pem", "{image}"),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("paths")
    (root / "image.jpg").write_bytes(encode(photograph()))
    image_folder(root / "folder", 2, 1)
    keras_alexnet.AlexNet(classes=2, width=1 / 32, init="he").save(root / "model.keras")
    return {
        "folder": f"{root / 'folder'}",
        "image": f"{root / 'image.jpg'}",
        "model": f"{root / 'model.keras'}",
        "new": f"{root / 'new'}",
    }


def make(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.touch()
        os.truncate(path, HUGE)
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path.name, "nothing": "missing"}[kind])


@pytest.fixture
def within_limits():
    """The test takes no more time or memory than the limits; a command that waits is interrupted."""

    def interrupt(number, frame):
        raise TimeoutError("the command waits")

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(MOST_SECONDS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MB * 1024


KINDS = ("pipe", "device", "loop", "nothing", "huge")


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(case, kind, paths, tmp_path, within_limits):
    module, *arguments = CASES[case]
    last = next(argument for argument in arguments if "{x}" in argument)
    make(kind, tmp_path / f"x{last.partition('{x}')[2]}")
    values = {**paths, "x": str(tmp_path / "x")}
    finished = run_command(module, *(argument.format(**values) for argument in arguments))
    assert finished.returncode == 1 and finished.stdout == ""
    assert finished.stderr.count("\n") == 1 and "x" in finished.stderr
    assert not Path(paths["new"]).exists() and os.path.lexists(tmp_path / f"x{last.partition('{x}')[2]}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_features_files_are_refused(suffix, kind, tmp_path, within_limits):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"x{suffix}"
    make(kind, path)
    with pytest.raises(ValueError, match=r"^features_file=.*x"):
        neighbours.add_file(path, neighbours.Nearest(np.zeros((1, 2)), 1))


def test_an_image_of_gigabytes_is_a_bad_file_of_a_folder(tmp_path, within_limits):
    folder = image_folder(tmp_path / "folder", 2, 1)
    make("huge", folder / "train" / "cat" / "huge.jpg")
    listing = open_folder(str(folder)).listings["train"]
    assert len(listing.keys) == 4
    assert listing.bad == {"train/cat/huge.jpg": "5,368,709,120 bytes, more than 67,108,864"}


@pytest.mark.parametrize("names", [("saved_model.pb", "assets/labels.txt"), ("model.json", "checkpoints/ckpt-1.index")])
@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
def test_directories_with_special_files_are_refused(kind, names, tmp_path, within_limits):
    marker, special = (tmp_path / name for name in names)
    marker.write_text("{}")
    special.parent.mkdir()
    make(kind, special)
    with pytest.raises(ValueError, match=rf"{special.name}: .*(pipe|device|link)"):
        keras_alexnet.load_network(tmp_path)
