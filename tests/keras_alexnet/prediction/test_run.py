"""`predict_to_file`: resumes, shards and merges to the output of an uninterrupted run."""

import dataclasses
import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_alexnet.prediction import formats
from keras_alexnet.prediction.images import find_inputs
from keras_alexnet.prediction.predictor import Settings
from keras_alexnet.prediction.run import merge, predict_to_file
from tests.helpers.colour_network import loader, write_images

IMAGES = 150  # five parts
BROKEN = 40
SETTINGS = Settings(top_k=2, features=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return find_inputs([str(write_images(tmp_path_factory.mktemp("many") / "images", IMAGES, BROKEN))])


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    return loader(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def expected(load, inputs, tmp_path_factory):
    """The output of an uninterrupted run, as CSV."""
    output = tmp_path_factory.mktemp("whole") / "o.csv"
    summary = predict_to_file(load, inputs, output, SETTINGS)
    assert (summary.images, summary.computed, summary.invalid) == (IMAGES, IMAGES, 1)
    assert os.listdir(output.parent) == ["o.csv"], "nothing but the output remains"
    return output.read_text()


def test_rows_are_in_the_order_of_the_images(inputs, expected):
    header, *rows = expected.splitlines()
    assert header == "path,valid,reason,label_1,class_1,score_1,label_2,class_2,score_2,feature_0,feature_1"
    paths = [path for part in inputs.parts for path in part.paths]
    assert [row.split(",")[0] for row in rows] == paths and len(inputs.parts) == 5
    assert rows[BROKEN].split(",")[1] == "false" and rows[BROKEN].endswith(",,,,,,,,")


@pytest.mark.parametrize("calls", [1, 4])
def test_an_interrupted_run_resumes(load, inputs, expected, tmp_path, calls):
    output = tmp_path / "o.csv"
    network, counter = load(), itertools.count()

    def interrupted(image_bytes):
        if next(counter) >= calls:
            raise KeyboardInterrupt
        return network.signatures["serving_default"](image_bytes)

    signatures = network.signatures | {"serving_default": interrupted}
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(lambda: dataclasses.replace(network, signatures=signatures), inputs, output, SETTINGS)
    assert not output.exists()
    # What a process that was killed leaves behind.
    (tmp_path / "o.csv.parts" / ".0a1b2c3d.part-000004-0-invalid.csv").write_text("half a p")
    summary = predict_to_file(load, inputs, output, SETTINGS, batch_size=5)
    assert summary.computed <= IMAGES - 32 * (calls - 3) and summary.invalid == 1
    assert output.read_text() == expected and os.listdir(tmp_path) == ["o.csv"]


@pytest.mark.parametrize("when", ["write", "join"])
def test_a_full_disk_is_one_line_and_the_run_resumes(load, inputs, expected, tmp_path, monkeypatch, when):
    def full(*arguments):
        arguments[-1].write_text("some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        changed = dataclasses.replace(formats.FORMATS[".csv"], **{when: full})
        patched.setitem(formats.FORMATS, ".csv", changed)
        with pytest.raises(ValueError, match=r"output=.*: cannot be written: No space left on device"):
            predict_to_file(load, inputs, tmp_path / "o.csv", SETTINGS)
    assert not (tmp_path / "o.csv").exists() and not list(tmp_path.glob("**/.*part-*"))
    predict_to_file(load, inputs, tmp_path / "o.csv", SETTINGS)
    assert (tmp_path / "o.csv").read_text() == expected


def test_shards_are_merged_to_the_same_output(load, inputs, expected, tmp_path):
    output = tmp_path / "o.csv"
    counts = []
    for index in (2, 0):
        counts.append(predict_to_file(load, inputs, output, SETTINGS, shard=(index, 3)).images)
    with pytest.raises(ValueError, match="2 of 5 parts are missing, the first is 1"):
        merge(output)
    counts.append(predict_to_file(load, inputs, output, SETTINGS, shard=(1, 3)).images)
    assert sum(counts) == IMAGES and min(counts) > 0
    assert predict_to_file(load, inputs, output, SETTINGS, shard=(1, 3)).computed == 0
    summary = merge(output)
    assert (summary.images, summary.invalid) == (IMAGES, 1)
    assert output.read_text() == expected
    with pytest.raises(ValueError, match=r"output=.*exists already"):
        predict_to_file(load, inputs, output, SETTINGS, shard=(1, 3))
    output.unlink()
    with pytest.raises(ValueError, match=r"output=.*found no parts to join"):
        merge(output)


def test_parts_of_another_prediction_are_refused(load, inputs, tmp_path):
    output = tmp_path / "o.csv"
    predict_to_file(load, inputs, output, SETTINGS, shard=(0, 5))
    other = loader(tmp_path / "export")
    other()
    (tmp_path / "export" / "saved_model.pb").write_bytes(b"trained longer")
    fewer = dataclasses.replace(inputs, fingerprint="other")
    for name, arguments in {
        "model": (other, inputs, output, SETTINGS),
        "images": (load, fewer, output, SETTINGS),
        "top_k": (load, inputs, output, dataclasses.replace(SETTINGS, top_k=1)),
        "crops": (load, inputs, output, dataclasses.replace(SETTINGS, crops="center")),
        "features": (load, inputs, output, Settings(top_k=2)),
    }.items():
        with pytest.raises(ValueError, match=f"parts made with another value of {name};"):
            predict_to_file(*arguments)


@pytest.mark.parametrize("output", ["o.txt", "missing/o.csv"])
def test_outputs_that_cannot_be_written_are_named(load, inputs, tmp_path, output):
    with pytest.raises(ValueError, match=r"output="):
        predict_to_file(load, inputs, tmp_path / output, SETTINGS)
    assert not os.listdir(tmp_path)


def test_without_ray_nothing_is_left(load, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^runner=ray: needs Ray"):
        predict_to_file(load, inputs, tmp_path / "o.csv", SETTINGS, runner="ray")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_write_the_same_output(load, inputs, tmp_path):
    network = load()

    def again(image_bytes):
        with pytest.raises(ValueError, match="another process is writing it"):
            predict_to_file(load, inputs, tmp_path / "o.csv", SETTINGS)
        raise KeyboardInterrupt

    signatures = network.signatures | {"serving_default": again}
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(
            lambda: dataclasses.replace(network, signatures=signatures), inputs, tmp_path / "o.csv", SETTINGS
        )


PROGRAM = """
import sys
from pathlib import Path
from keras_alexnet.prediction.images import find_inputs
from keras_alexnet.prediction.predictor import Settings
from keras_alexnet.prediction.run import predict_to_file
from tests.helpers.colour_network import loader

export, images, output = map(Path, sys.argv[1:])
settings = Settings(top_k=2, features=True)
predict_to_file(loader(export, 0.02), find_inputs([str(images)]), output, settings, batch_size=8)
"""


@pytest.mark.slow
@pytest.mark.subprocess
def test_killed_at_any_moment_it_ends_with_the_same_output(load, inputs, expected, tmp_path):
    images, output = Path(inputs.parts[0].paths[0]).parent, tmp_path / "o.csv"
    command = [sys.executable, "-c", PROGRAM, load.args[0], images, output]
    moments = random.Random(0)
    for _ in range(8):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
        # Loading takes longer than predicting: it is killed at a moment after its first file appears.
        before = set(tmp_path.rglob("*"))
        while process.poll() is None and set(tmp_path.rglob("*")) == before:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=Path(__file__).parents[3], check=not output.exists())
    assert output.read_text() == expected and os.listdir(tmp_path) == ["o.csv"]
