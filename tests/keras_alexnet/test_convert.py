import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.convert import convert
from keras_alexnet.weights import load_weights
from tests.helpers import weight_files as files
from tests.helpers.weight_files import small

WIDTH = 1 / 16


def source(tmp_path, name, form, classes=5):
    """A file of random weights, and what they are."""
    model = small(name, classes)
    weights = files.randomize(model)
    blobs = files.foreign_blobs(weights, VARIANTS[name].towers, bgr=form != "torch")
    path = tmp_path / f"source.{form}"
    if form == "caffemodel":
        files.caffemodel(path, blobs, files.CAFFENET if name == "caffenet" else files.ALEXNET)
    elif form == "npy":
        files.npy(path, files.caffe_tensorflow(blobs))
    elif form == "keras":
        model.save(path)
    else:
        torch = pytest.importorskip("torch")
        state = {f"{layer}.weight": pair[0] for layer, pair in blobs.items()}
        state |= {f"{layer}.bias": pair[1] for layer, pair in blobs.items()}
        torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
    return path, weights


@pytest.mark.parametrize(
    "name, form", [("caffe", "caffemodel"), ("caffenet", "caffemodel"), ("caffe", "npy"), ("torchvision", "torch")]
)
def test_variant_and_classes_are_seen_from_the_file(tmp_path, name, form):
    path, weights = source(tmp_path, name, form)
    _, _, variant = convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    assert variant == name
    model = AlexNet(name, classes=5, width=WIDTH, weights=tmp_path / "w.weights.h5")
    assert files.same_weights(model, weights)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, "w.weights.h5"])


def test_the_variant_may_be_given(tmp_path):
    path, weights = source(tmp_path, "caffenet", "npy")
    model, _, variant = convert(path, tmp_path / "w.weights.h5", "caffenet", WIDTH)
    assert variant == "caffenet" and files.same_weights(model, weights)


def test_of_keras_files_the_variant_must_be_given(tmp_path):
    path, weights = source(tmp_path, "source2012", "keras")
    with pytest.raises(ValueError, match="variant is missing"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    model, *_ = convert(path, tmp_path / "w.weights.h5", "source2012", WIDTH)
    assert files.same_weights(model, weights)


def test_a_file_is_never_replaced(tmp_path):
    path, _ = source(tmp_path, "caffe", "npy")
    (tmp_path / "w.weights.h5").write_text("mine")
    with pytest.raises(ValueError, match="found a file; expected a name that is free"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    assert (tmp_path / "w.weights.h5").read_text() == "mine"


@pytest.mark.parametrize(
    "output, says",
    [("w.h5", "ends in .weights.h5"), ("none/w.weights.h5", "no folder"), ("f/w.weights.h5", "no folder")],
)
def test_unusable_outputs_are_refused(tmp_path, output, says):
    path, _ = source(tmp_path, "caffe", "npy")
    (tmp_path / "f").write_text("a file")
    with pytest.raises(ValueError, match=says):
        convert(path, tmp_path / output, width=WIDTH)


def test_a_pytorch_file_that_may_be_of_several_variants_is_not_guessed_at(tmp_path):
    path, weights = source(tmp_path, "paper", "torch")
    with pytest.raises(ValueError, match=r"variant is missing: .* may be of paper or source2012"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    model, *_ = convert(path, tmp_path / "w.weights.h5", "paper", WIDTH)
    assert files.same_weights(model, weights)


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    path, _ = source(tmp_path, "caffe", "npy")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(ValueError, match="found 1 MB free; expected 2 MB"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("change", ["classifier", "conv2", "alpha"])
def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path, change):
    blobs = files.foreign_blobs(files.randomize(small("caffe")), 2)
    blobs.pop({"classifier": "fc8", "conv2": "conv2"}.get(change), None)
    files.caffemodel(tmp_path / "w", blobs, lrn=files.lrn_param(alpha=5e-4 if change == "alpha" else 1e-4))
    with pytest.raises(ValueError, match={"classifier": "fc8", "conv2": "conv2", "alpha": "alpha=0.0001"}[change]):
        convert(tmp_path / "w", tmp_path / "w.weights.h5", width=WIDTH)
    assert [file.name for file in tmp_path.iterdir()] == ["w"]


def command(*arguments, cwd=None):
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=300, cwd=cwd)


def test_the_command_says_what_it_has_found_and_what_comes_next(tmp_path):
    path, weights = source(tmp_path, "caffe", "npy")
    output = tmp_path / "w.weights.h5"
    done = command("keras_alexnet.convert", f"--weights={path}", f"--output={output}", f"--width={WIDTH}")
    assert done.returncode == 0, done.stderr
    assert "Caffe weights as NumPy pickle (.npy) of variant caffe, 5 classes, " in done.stdout
    assert "--variant=caffenet" in done.stdout
    # What it says to type works: the expression, and the flags of the command.
    model = eval(re.search(r"AlexNet\(.*\)", done.stdout)[0], {"AlexNet": AlexNet})
    assert files.same_weights(model, weights)
    following = shlex.split(done.stdout.rpartition("python -m ")[2])
    trained = command(*following, cwd=tmp_path)
    assert trained.returncode == 1 and "folder:photographs" in trained.stderr, trained.stderr


def test_the_command_ends_with_one_line_on_wrong_input(tmp_path):
    (tmp_path / "page.html").write_text("<html>")
    done = command(
        "keras_alexnet.convert", f"--weights={tmp_path / 'page.html'}", f"--output={tmp_path / 'w.weights.h5'}"
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "page.html" in done.stderr


@pytest.mark.slow
def test_a_caffemodel_of_full_size_is_loaded_exactly(tmp_path):
    model = AlexNet("caffe")
    weights = files.randomize(model)
    path = files.caffemodel(tmp_path / "alexnet.caffemodel", files.foreign_blobs(weights, 2))
    assert os.path.getsize(path) > 4 * 60_965_224
    model.set_weights([0 * array for array in model.get_weights()])
    load_weights(model, path, VARIANTS["caffe"])
    assert files.same_weights(model, weights)
