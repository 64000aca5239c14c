"""The export command: from files and run directories to a version that predicts as the Keras model does."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_alexnet import AlexNet
from keras_alexnet.pretrained import load_network
from keras_alexnet.ten_crop import crop_probabilities
from serving import signatures as wire
from tests.helpers import reference
from tests.helpers import weight_files as files
from tests.helpers.commands import run_command

pytestmark = [pytest.mark.numeric, pytest.mark.subprocess]

COMMAND = "keras_alexnet.export"
NAMES = ["ant", "bee", "cat", "dog", "elk"]
WIDTH = 1 / 16


@pytest.fixture(scope="module")
def names_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The README's model, with its own input scale, as `model.keras`."""
    keras.utils.set_random_seed(0)
    model = AlexNet(classes=len(NAMES), width=WIDTH, init="he", mean=[90.0, 100.0, 110.0])
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, path


def assert_one_line(run, *words):
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, run.stderr
    assert all(word in run.stderr for word in words), run.stderr


@pytest.mark.numeric
@pytest.mark.parametrize("flag", ["--model", pytest.param("--weights", marks=pytest.mark.slow)])
def test_a_keras_file_is_exported_as_a_whole(saved, names_file, tmp_path, flag, unchecked):
    model, path = saved
    run = run_command(COMMAND, f"{flag}={path}", f"--class_names={names_file}", f"--export_base={tmp_path}")
    assert run.returncode == 0 and str(tmp_path / "1") in run.stdout, run.stderr
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3)).astype(np.uint8))
    outputs = load_network(tmp_path).signatures[wire.SIGNATURE_IMAGES](images=images)
    expected = crop_probabilities(model, images, from_logits=False)
    assert np.ptp(expected) > 0.01, "equal probabilities would hide errors"
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    assert {label.decode() for label in outputs["labels"][0].numpy()} == set(NAMES)


@pytest.mark.numeric
def test_weights_are_exported_with_the_scale_and_mean_of_their_network(saved, names_file, tmp_path, unchecked):
    model, path = saved
    model.save_weights(path.with_name("model.weights.h5"))
    arguments = [COMMAND, f"--weights={path.with_name('model.weights.h5')}", "--variant=paper", f"--width={WIDTH}"]
    arguments += [f"--classes={len(NAMES)}", f"--class_names={names_file}", f"--export_base={tmp_path / 'base'}"]
    assert_one_line(run_command(*arguments), "--init is missing")
    assert_one_line(run_command(*arguments, "--init=he", "--mean=1,x"), "--mean=1,x: ", "expected R,G,B or a .npy file")
    assert not (tmp_path / "base").exists()
    run = run_command(*arguments, "--init=he", "--mean=90,100,110")
    assert run.returncode == 0, run.stderr
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3)).astype(np.uint8))
    outputs = load_network(tmp_path / "base").signatures[wire.SIGNATURE_IMAGES](images=images)
    expected = crop_probabilities(model, images, from_logits=False)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)


def test_class_names_that_do_not_fit_are_one_line(saved, names_file, tmp_path):
    _, path = saved
    (tmp_path / "two.txt").write_text("ant\nbee\n")
    arguments = (COMMAND, f"--model={path}", f"--export_base={tmp_path / 'base'}")
    assert_one_line(run_command(*arguments, f"--class_names={tmp_path / 'two.txt'}"), "found 2 names; expected 5")
    assert_one_line(run_command(*arguments), "--class_names is missing", "5 classes")
    assert_one_line(run_command(*arguments, f"--class_names={names_file}", "--network=paper"), "--network='paper'")
    assert not (tmp_path / "base").exists()


def test_other_keras_files_need_flags_that_are_never_guessed(names_file, tmp_path, unchecked):
    layers = [keras.Input((56, 56, 3)), keras.layers.Flatten(), keras.layers.Dense(len(NAMES))]
    keras.Sequential(layers).save(tmp_path / "m.keras")
    arguments = [COMMAND, f"--model={tmp_path / 'm.keras'}", f"--class_names={names_file}"]
    arguments.append(f"--export_base={tmp_path / 'base'}")
    assert_one_line(run_command(*arguments), "--preprocessing is missing")
    assert_one_line(run_command(*arguments, "--preprocessing=x"), "--preprocessing='x': expected 'none'")
    assert_one_line(run_command(*arguments, "--preprocessing=tf"), "--from_logits is missing")
    run = run_command(*arguments, "--preprocessing=tf", "--from_logits")
    assert run.returncode == 0 and (tmp_path / "base" / "1" / "saved_model.pb").exists(), run.stderr


def test_a_directory_without_a_network_is_named(trained, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("model.json", "statistics.npz"):
        shutil.copy(trained / name, tmp_path / "run")
    for model_dir, found in ((tmp_path / "run", "found no checkpoint"), (tmp_path / "nowhere", "no such file")):
        run = run_command(COMMAND, f"--model_dir={model_dir}", f"--export_base={tmp_path / 'base'}")
        assert_one_line(run, str(model_dir), found)
    assert not (tmp_path / "base").exists()


def test_the_card_has_the_training_and_its_error_rates(trained, tmp_path, unchecked):
    rates = "time,model_dir,steps,dataset,split,views,images,skipped,top1_error,top5_error,loss\n"
    row = "now,run,{},folder:x,validation,{},9,0,{},0.0,1.25\n"
    rates += row.format(12, "ten", 0.5) + row.format(12, "ten", 0.25) + row.format(3, "center", 0.75)
    run_directory = shutil.copytree(trained, tmp_path / "run")
    (run_directory / "results.csv").write_text(rates)
    run = run_command(COMMAND, f"--model_dir={run_directory}", f"--export_base={tmp_path / 'base'}", "--top_k=1")
    assert run.returncode == 0 and "(step 12)" in run.stdout, run.stderr
    card = json.loads((tmp_path / "base" / "1" / "assets.extra" / "model_card.json").read_text())
    training = card["training"]
    assert training["network"] == "paper" and training["steps"] == 12 and training["statistics"]["images"] == 24
    (result,) = training["error_rates"]
    assert (result["crops"], result["top1_error"], result["images"]) == ("ten", 0.25, 9), "the newest, of these steps"
    assert card["served"]["top_k"] == 1
    assert_one_line(
        run_command(COMMAND, f"--model={tmp_path / 'base'}", f"--export_base={tmp_path / 'base'}"), "is an export"
    )


@pytest.mark.parametrize("flag", ["--precision=float16", "--top_k=0", "--max_pixels=0", "--version=0"])
def test_wrong_values_are_named(flag, tmp_path):
    run = run_command(COMMAND, f"--model={tmp_path}", f"--export_base={tmp_path}", flag)
    assert_one_line(run, flag.split("=")[0])


def pretrained(name: str, path, bgr: bool):
    """Writes the weights of a network with predictions that are neither even nor certain; returns them."""
    random = np.random.default_rng(0)
    model = files.small(name, classes=len(NAMES))
    weights = {}
    for layer in model.layers:
        if layer.weights:
            gain = {"caffe": 0.02, "torchvision": 0.1}[name] if layer.name == "fc8" else 2.0
            weights[layer.name] = [
                random.normal(0, np.sqrt(gain / np.prod(w.shape[:-1])) if w.ndim > 1 else 0.1, w.shape).astype(
                    np.float32
                )
                for w in map(np.asarray, layer.get_weights())
            ]
            layer.set_weights(weights[layer.name])
    if bgr:
        blobs = files.foreign_blobs(weights, model.get_layer("conv1").towers)
        files.npy(path, files.caffe_tensorflow(blobs))
    else:
        model.save_weights(path)
    return weights


def center_crop(image: Image.Image, name: str) -> np.ndarray:
    """What the network of that name reads of an image, by Pillow: RGB 0..255, float64 [1, S, S, 3]."""
    if name == "caffe":
        size, pixels = 227, image.resize((256, 256), Image.Resampling.BILINEAR)
    else:
        scale = 256 / min(image.size)
        sides = [int(side * scale) for side in image.size]
        size, pixels = 224, image.resize(sides, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in pixels.size)
    return np.asarray(pixels, np.float64)[None, top : top + size, left : left + size]


@pytest.mark.numeric
@pytest.mark.parametrize("name, file", [("caffe", "bvlc.npy"), ("torchvision", "owt.weights.h5")])
def test_exported_pretrained_weights_classify_image_files(tmp_path, names_file, name, file, unchecked):
    weights = pretrained(name, tmp_path / file, bgr=name == "caffe")
    arguments = [f"--weights={tmp_path / file}", f"--width={WIDTH}"]
    # Keras' files contain neither the network nor the number of classes.
    arguments += [] if name == "caffe" else [f"--variant={name}", f"--classes={len(NAMES)}", "--init=paper"]
    arguments += [f"--class_names={names_file}", f"--export_base={tmp_path / 'served'}"]
    run = run_command(COMMAND, *arguments)
    assert run.returncode == 0, run.stderr

    # Far from square, and smooth, so that the resize policy matters more than how a resize rounds.
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((420, 260), Image.Resampling.BICUBIC)
    image.save(tmp_path / "photo.png")
    signature = load_network(tmp_path / "served").signatures[wire.SIGNATURE_CENTER]
    outputs = signature(image_bytes=tf.constant([(tmp_path / "photo.png").read_bytes()]))

    logits = getattr(reference, name)(weights, reference.PUBLISHED_INPUT[name](center_crop(image, name)))[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert 0.25 < expected.max() < 0.999, expected
    np.testing.assert_allclose(outputs[wire.OUTPUT_PROBABILITIES].numpy()[0], expected, atol=0.01)
    assert outputs[wire.OUTPUT_LABELS].numpy()[0, 0].decode() == NAMES[np.argmax(expected)]
