import io
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_alexnet import AlexNet, export_model
from keras_alexnet.ten_crop import crop_probabilities
from serving import signatures as wire

pytestmark = [pytest.mark.numeric, pytest.mark.subprocess]

NAMES = ["alpha", "bêta", "gamma delta", "d", "e", "f", "g"]
random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(5)
    mean = random.uniform(80, 150, (256, 256, 3))
    return AlexNet(width=1 / 8, classes=7, init="he", mean=mean, classifier_activation=None)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export_model(model, tmp_path_factory.mktemp("export") / "alexnet", NAMES)


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(exported)
    # The functions hold the variables weakly.
    loaded.signatures.keep = loaded
    return loaded.signatures


def encoded(pixels, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def stored_images(count):
    """Blotches of colour rather than noise, so that the views differ."""
    coarse = random.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((1, 32, 32, 1), np.uint8))


def test_ten_crops_equal_the_keras_model(model, signatures):
    stored = stored_images(3)
    answer = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([encoded(image) for image in stored]))
    corners = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    crops = [stored[:, y : y + 224, x : x + 224] for y, x in corners]
    crops += [crop[:, :, ::-1] for crop in crops]
    logits = np.stack([model.predict(np.ascontiguousarray(crop), verbose=0) for crop in crops]).astype(np.float64)
    expected = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).mean(0)
    assert expected.max() < 0.99, "a saturated softmax would hide errors"
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-4)
    order = np.argsort(-expected, axis=-1)[:, :5]
    np.testing.assert_array_equal(answer["classes"], order)
    np.testing.assert_allclose(answer["scores"], np.take_along_axis(expected, order, -1), rtol=1e-4)
    assert [[name.decode() for name in row] for row in answer["labels"].numpy()] == [
        [NAMES[k] for k in row] for row in order
    ]
    assert answer["valid"].numpy().all()


def test_the_image_signature_gives_the_same_as_the_bytes(signatures):
    stored = stored_images(2)
    by_bytes = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([encoded(image) for image in stored]))
    by_images = signatures[wire.SIGNATURE_IMAGES](images=tf.constant(stored))
    assert set(by_bytes) - set(by_images) == {"valid"}
    np.testing.assert_array_equal(by_images["probabilities"], by_bytes["probabilities"])


def test_the_centre_signature_is_one_view(model, signatures):
    stored = stored_images(2)
    answer = signatures[wire.SIGNATURE_CENTER](image_bytes=tf.constant([encoded(image) for image in stored]))
    np.testing.assert_allclose(
        answer["probabilities"], crop_probabilities(model, tf.constant(stored), "center", from_logits=True), rtol=1e-4
    )


def test_features_are_fc7s(model, signatures):
    stored = stored_images(2)
    answer = signatures[wire.SIGNATURE_FEATURES](image_bytes=tf.constant([encoded(image) for image in stored]))
    kernel, bias = model.get_layer("fc8").get_weights()
    assert answer["features"].shape == (2, 512)
    logits = model.predict(stored[:, 16:240, 16:240], verbose=0)
    np.testing.assert_allclose(0.5 * answer["features"] @ kernel + bias, logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("signature", [wire.SIGNATURE_TEN_CROP, wire.SIGNATURE_CENTER, wire.SIGNATURE_FEATURES])
def test_a_bad_image_has_zeros_in_its_row_and_changes_no_other(signatures, signature):
    good = encoded(stored_images(1)[0], "JPEG")
    bad = [b"", b"junk", good[: len(good) // 2], b"\xff\xd8\xff" + b"x" * 500, b"GIF89a" + good]
    alone = signatures[signature](image_bytes=tf.constant([good]))
    mixed = signatures[signature](image_bytes=tf.constant([good, *bad, good]))
    assert mixed["valid"].numpy().tolist() == [True] + [False] * len(bad) + [True]
    for name, values in mixed.items():
        zero = b"" if values.dtype == tf.string else 0
        assert np.all(values.numpy()[1:-1] == zero), name
        for row in (0, -1):
            np.testing.assert_array_equal(values[row], alone[name][0])


def test_an_empty_batch_has_an_empty_answer(signatures):
    answer = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([], tf.string))
    assert {name: tuple(values.shape) for name, values in answer.items()} == {
        "probabilities": (0, 7),
        "scores": (0, 5),
        "classes": (0, 5),
        "labels": (0, 5),
        "valid": (0,),
    }


def test_the_signatures_are_those_of_the_wire(signatures):
    assert {name: set(function.structured_outputs) for name, function in signatures.items()} == {
        "serving_default": {"probabilities", "scores", "classes", "labels", "valid"},
        "center_crop": {"probabilities", "scores", "classes", "labels", "valid"},
        "images": {"probabilities", "scores", "classes", "labels"},
        "features": {"features", "valid"},
    }
    for function in signatures.values():
        assert all(spec.shape[0] is None for spec in function.structured_outputs.values())


def test_with_fewer_than_five_classes_all_of_them_are_ranked(tmp_path, unchecked):
    path = export_model(AlexNet(width=1 / 32, classes=2), tmp_path, ["yes", "no"])
    loaded = tf.saved_model.load(path)
    answer = loaded.signatures[wire.SIGNATURE_CENTER](image_bytes=tf.constant([encoded(stored_images(1)[0])]))
    assert answer["scores"].shape == (1, 2) and abs(float(tf.reduce_sum(answer["scores"])) - 1) < 1e-5


def test_each_parameter_is_stored_once(model, exported):
    variables = sum(file.stat().st_size for file in (Path(exported) / "variables").iterdir())
    assert 4 * model.count_params() <= variables < 4 * model.count_params() * 1.02
    assert (Path(exported) / "saved_model.pb").stat().st_size < 1_400_000, "the mean image is stored once"


def test_versions_count_up_and_are_never_overwritten(tmp_path, unchecked):
    (tmp_path / "6").mkdir()
    small = AlexNet(width=1 / 32, classes=2)
    assert Path(export_model(small, tmp_path, ["a", "b"])).name == "7"
    before = (tmp_path / "7" / "saved_model.pb").stat()
    with pytest.raises(ValueError, match=r"version=7: found .*; expected .* \(the next free one is 8\)"):
        export_model(small, tmp_path, ["a", "b"], version=7)
    assert (tmp_path / "7" / "saved_model.pb").stat() == before
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_dir()) == ["6", "7"]


@pytest.mark.parametrize(
    "names, says", [(["a"], "found 1; expected 2"), (["a", "b\nc"], "line breaks"), (["a", ""], "not empty")]
)
def test_class_names_that_do_not_fit_are_refused(tmp_path, names, says):
    with pytest.raises(ValueError, match=says):
        export_model(AlexNet(width=1 / 32, classes=2), tmp_path / "base", names)
    assert not (tmp_path / "base").exists()


def test_a_network_without_classifier_is_refused(tmp_path):
    with pytest.raises(ValueError, match="include_top"):
        export_model(AlexNet(width=1 / 32, include_top=False), tmp_path, ["a"])


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(ValueError, match="No space left on device"):
        export_model(AlexNet(width=1 / 32, classes=2), tmp_path, ["a", "b"])
    assert not list(tmp_path.iterdir())


def test_a_folder_without_checkpoint_is_named(tmp_path, trained):
    (tmp_path / "run").mkdir()
    for name in ("model.json", "statistics.npz"):
        (tmp_path / "run" / name).write_bytes((trained / name).read_bytes())
    command = [sys.executable, "-m", "keras_alexnet.export", f"--export_base={tmp_path / 'base'}"]
    for model_dir, says in ((tmp_path / "run", "found no checkpoint"), (tmp_path / "nowhere", "no such folder")):
        run = subprocess.run([*command, f"--model_dir={model_dir}"], capture_output=True, text=True)
        assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
        assert str(model_dir) in run.stderr and says in run.stderr
    assert not (tmp_path / "base").exists()


def test_a_session_without_soft_placement_loads_it_as_tensorflow_serving_does(exported, signatures):
    good = encoded(stored_images(1)[0], "JPEG")
    with tf.Graph().as_default():
        config = tf.compat.v1.ConfigProto(allow_soft_placement=False)
        with tf.compat.v1.Session(config=config) as session:
            meta_graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], exported)
            signature = meta_graph.signature_def[wire.SIGNATURE_TEN_CROP]
            fetches = {name: info.name for name, info in signature.outputs.items()}
            feed = {signature.inputs[wire.INPUT_BYTES].name: [b"junk", good]}
            answer = session.run(fetches, feed)
    expected = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([b"junk", good]))
    assert answer["valid"].tolist() == [False, True]
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], rtol=1e-4, atol=1e-6)
    assert answer["labels"].tolist() == expected["labels"].numpy().tolist()
