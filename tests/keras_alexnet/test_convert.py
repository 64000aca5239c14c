import dataclasses
import os
import re
import shlex
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_alexnet import VARIANTS, AlexNet, networks
from keras_alexnet.convert import check_output, save
from keras_alexnet.pretrained import load_network
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.weights import load_weights
from pipelines.atomic import file_lock
from tests.helpers import weight_files as files
from tests.helpers.commands import run_command
from tests.helpers.weight_files import small

COMMAND = "keras_alexnet.convert"
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


def convert(path, output, network=None, **options):
    save(load_network(path, network=network, **options), output)


@pytest.mark.parametrize(
    "name, form", [("caffe", "caffemodel"), ("caffenet", "caffemodel"), ("caffe", "npy"), ("torchvision", "torch")]
)
def test_network_and_classes_are_detected_from_the_file(tmp_path, name, form):
    path, weights = source(tmp_path, name, form)
    convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    model = AlexNet(name, classes=5, width=WIDTH, weights=tmp_path / "w.weights.h5")
    assert files.same_weights(model, weights)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, "w.weights.h5"])


def test_the_network_may_be_given(tmp_path):
    path, weights = source(tmp_path, "caffenet", "npy")
    convert(path, tmp_path / "w.weights.h5", "caffenet", width=WIDTH)
    assert files.same_weights(AlexNet("caffenet", tmp_path / "w.weights.h5", classes=5, width=WIDTH), weights)


def test_a_file_is_never_replaced(tmp_path):
    path, _ = source(tmp_path, "caffe", "npy")
    (tmp_path / "w.weights.h5").write_text("mine")
    with pytest.raises(ValueError, match="found a file; expected a name that does not exist yet"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    assert (tmp_path / "w.weights.h5").read_text() == "mine"


@pytest.mark.parametrize(
    "output, message",
    [("w.h5", r"ends in \.weights\.h5"), ("none/w.weights.h5", "no directory"), ("f/w.weights.h5", "no directory")],
)
def test_unusable_outputs_are_refused(tmp_path, output, message):
    (tmp_path / "f").write_text("a file")
    with pytest.raises(ValueError, match=message):
        check_output(tmp_path / output)


def test_a_pytorch_file_of_several_possible_networks_needs_the_network(tmp_path):
    path, weights = source(tmp_path, "paper", "torch")
    with pytest.raises(ValueError, match=r"paper or source2012"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    convert(path, tmp_path / "w.weights.h5", "paper", width=WIDTH)
    assert files.same_weights(AlexNet("paper", tmp_path / "w.weights.h5", classes=5, width=WIDTH), weights)


def test_a_full_disk_is_detected_before_anything_is_written(tmp_path, monkeypatch):
    path, _ = source(tmp_path, "caffe", "npy")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(ValueError, match="found 1 MB free; expected 2 MB"):
        convert(path, tmp_path / "w.weights.h5", width=WIDTH)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_killed_conversions_left_behind_is_removed_and_a_running_one_is_not_disturbed(tmp_path):
    path, _ = source(tmp_path, "caffe", "npy")
    network, output = load_network(path, width=WIDTH), tmp_path / "w.weights.h5"
    (tmp_path / ".0123abcd.w.weights.h5").write_text("half a file")
    (tmp_path / ".0123abcd.other.weights.h5").write_text("of somebody else")
    with file_lock(tmp_path / ".w.weights.h5.lock"), pytest.raises(ValueError, match="another conversion"):
        save(network, output)
    assert (tmp_path / ".0123abcd.w.weights.h5").exists() and not output.exists()
    save(network, output)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [".0123abcd.other.weights.h5", path.name, "w.weights.h5"]


@pytest.mark.medium
@pytest.mark.slow
def test_a_trained_network_is_written_as_a_whole(trained, tmp_path):
    network = load_network(trained)
    with pytest.raises(ValueError, match="would lose the preprocessing"):
        save(network, tmp_path / "w.weights.h5")
    save(network, tmp_path / "w.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    found = keras.models.load_model(tmp_path / "w.keras")(images)
    np.testing.assert_allclose(found, network.model(images), atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["w.keras"]


def test_the_command_reports_what_it_found_and_how_to_use_the_result(tmp_path):
    path, weights = source(tmp_path, "caffe", "npy")
    output = tmp_path / "w.weights.h5"
    run = run_command(COMMAND, f"--weights={path}", f"--output={output}", f"--width={WIDTH}")
    assert run.returncode == 0, run.stderr
    printed = run.stdout
    assert "Caffe weights as NumPy pickle (.npy) of network caffe, 5 classes, " in printed
    assert "--network=caffenet" in printed
    # The printed expression and the printed flags work.
    model = eval(re.search(r"AlexNet\(.*\)", printed)[0], {"AlexNet": AlexNet})
    assert files.same_weights(model, weights)
    module, *arguments = shlex.split(printed.rpartition("python -m ")[2])
    assert module == "keras_alexnet.train"
    fields = {field.name for field in dataclasses.fields(TrainingConfig)} | {"network"}
    assert {argument.lstrip("-").partition("=")[0] for argument in arguments} <= fields


@pytest.mark.medium
def test_weights_of_any_network_are_written_and_loaded_by_its_name_and_options(tmp_path, monkeypatch):
    """From weights to .keras and back: what the command prints works, in Python and as flags."""
    options = {"survival": 0.5, "width": 0.25, "image_size": 24}
    model = networks.create("resnet_20", 3, classifier_activation=None, **options)
    model.save_weights(tmp_path / "w.weights.h5")
    given = ["--network=resnet_20", "--network_options=survival=0.5", "--width=0.25", "--image_size=24", "--classes=3"]
    for output in ("m.keras", "again.weights.h5"):
        arguments = [f"--weights={tmp_path / 'w.weights.h5'}", f"--output={tmp_path / output}", *given]
        run = run_command(COMMAND, *arguments)
        assert run.returncode == 0, run.stderr
        loaded = eval(re.search(r"load_network\(.*\)", run.stdout)[0], {"load_network": load_network}).model
        for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    line = run.stdout.splitlines()[-1]
    assert {"--network=resnet_20", "--width=0.25", "--image_size=24", "--network_options=survival=0.5"} <= set(
        line.split()
    )


@pytest.mark.parametrize(
    "given, reason",
    [
        ("survival", "--network_options=survival: expected name=value"),
        ("width=2", "--network_options=width=2: expected the flag --width=2"),
        ("depth=2", "depth=2: resnet_20 has no such option; it accepts width, survival"),
    ],
)
def test_wrong_options_of_a_network_are_one_line(tmp_path, given, reason):
    networks.create("resnet_20", 3, width=1 / 16).save_weights(tmp_path / "w.weights.h5")
    arguments = [f"--model={tmp_path / 'w.weights.h5'}", "--network=resnet_20", "--classes=3"]
    run = run_command(COMMAND, *arguments, f"--network_options={given}", f"--output={tmp_path / 'm.keras'}")
    assert run.returncode == 1 and run.stdout == ""
    assert reason in run.stderr and run.stderr.count("\n") == 1


def test_the_command_ends_with_one_line_on_wrong_input(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<html>")
    run = run_command(COMMAND, f"--model={page}", f"--output={tmp_path / 'w.weights.h5'}")
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1 and "page.html" in run.stderr


@pytest.mark.slow
def test_a_caffemodel_of_full_size_is_loaded_exactly(tmp_path):
    model = AlexNet("caffe")
    weights = files.randomize(model)
    path = files.caffemodel(tmp_path / "alexnet.caffemodel", files.foreign_blobs(weights, 2))
    assert os.path.getsize(path) > 4 * 60_965_224
    model.set_weights([0 * array for array in model.get_weights()])
    load_weights(model, path, VARIANTS["caffe"])
    assert files.same_weights(model, weights)
