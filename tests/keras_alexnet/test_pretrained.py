"""Published weights go all the way: raw photographs in, the answers of the network they were published for out."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_alexnet.pretrained import open_network
from serving import signatures as wire
from tests.helpers import reference
from tests.helpers import weight_files as files

NAMES = ["ant", "bee", "cat", "dog", "elk"]
WIDTH = 1 / 16
random = np.random.default_rng(0)


def published(name: str, path, bgr: bool):
    """Writes the weights of a network with answers that are neither even nor certain; returns them in our layout."""
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


def crop(photograph: Image.Image, name: str) -> np.ndarray:
    """What the network of that name sees of a photograph, by Pillow: RGB 0..255, float64 [1, S, S, 3]."""
    if name == "caffe":
        size, pixels = 227, photograph.resize((256, 256), Image.Resampling.BILINEAR)
    else:
        scale = 256 / min(photograph.size)
        sides = [round(side * scale) for side in photograph.size]
        size, pixels = 224, photograph.resize(sides, Image.Resampling.BILINEAR)
    left, top = ((side - size) // 2 for side in pixels.size)
    return np.asarray(pixels, np.float64)[None, top : top + size, left : left + size]


@pytest.mark.subprocess
@pytest.mark.parametrize("name, file", [("caffe", "bvlc.npy"), ("torchvision", "owt.weights.h5")])
def test_an_exported_published_network_classifies_raw_photographs(tmp_path, name, file):
    weights = published(name, tmp_path / file, bgr=name == "caffe")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    command = [sys.executable, "-m", "keras_alexnet.export", f"--weights={tmp_path / file}", f"--width={WIDTH}"]
    # Keras' files do not say of which network they are.
    command += [] if name == "caffe" else [f"--variant={name}"]
    flags = [f"--class_names={tmp_path / 'names.txt'}", f"--export_base={tmp_path / 'served'}"]
    run = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

    # Far from square, and smooth, so that the resize policy matters more than how a resize rounds.
    small = random.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    photograph = Image.fromarray(small).resize((420, 260), Image.Resampling.BICUBIC)
    photograph.save(tmp_path / "photo.png")
    loaded = tf.saved_model.load(str(tmp_path / "served" / "1"))
    answer = loaded.signatures[wire.SIGNATURE_CENTER](tf.constant([(tmp_path / "photo.png").read_bytes()]))

    logits = getattr(reference, name)(weights, reference.PUBLISHED_INPUT[name](crop(photograph, name)))[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    got = answer[wire.OUTPUT_PROBABILITIES].numpy()[0]
    assert 0.25 < expected.max() < 0.999, expected
    np.testing.assert_allclose(got, expected, atol=0.01)
    assert answer[wire.OUTPUT_LABELS].numpy()[0, 0].decode() == NAMES[np.argmax(expected)]


@pytest.mark.subprocess
def test_published_weights_are_evaluated(tmp_path, photographs):
    published("caffe", tmp_path / "bvlc.npy", bgr=True)
    names = ["blue", "green", "red", "x", "y"]
    (tmp_path / "names.txt").write_text("\n".join(names))
    run = subprocess.run(
        [
            *[sys.executable, "-m", "keras_alexnet.evaluate", f"--weights={tmp_path / 'bvlc.npy'}", f"--width={WIDTH}"],
            *[f"--class_names={tmp_path / 'names.txt'}", f"--dataset=folder:{photographs}", "--views=center"],
            f"--results_file={tmp_path / 'results.csv'}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "center 9 images" in run.stdout
    assert "bvlc.npy" in (tmp_path / "results.csv").read_text()


def test_which_network_is_meant_must_be_said_once(tmp_path):
    def options(**given):
        default = {"model_dir": None, "weights": None, "variant": None, "width": WIDTH, "class_names": None}
        return SimpleNamespace(**default | given)

    published("caffe", tmp_path / "bvlc.npy", bgr=True)
    weights = str(tmp_path / "bvlc.npy")
    with pytest.raises(ValueError, match="found neither; expected one of the two"):
        open_network(options())
    with pytest.raises(ValueError, match="found both"):
        open_network(options(model_dir="runs/mine", weights=weights))
    with pytest.raises(ValueError, match="class_names is missing: the weights are of 5 classes"):
        open_network(options(weights=weights))
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    with pytest.raises(ValueError, match="found 2 names; expected 5"):
        open_network(options(weights=weights, class_names=str(tmp_path / "names.txt")))
