"""What `export_model` writes predicts as the Keras model does, and wrong arguments are refused."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_alexnet import AlexNet, export_model
from keras_alexnet.pretrained import LoadedNetwork, load_network
from keras_alexnet.saved_model.export import verify_export
from keras_alexnet.saved_model.warmup import probes
from keras_alexnet.ten_crop import crop_probabilities
from pipelines.atomic import file_lock
from serving import signatures as wire
from tests.helpers.tolerance import rounding

NAMES = ["alpha", "bêta", "gamma delta", "d", "e", "f", "g"]
random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def small():
    return AlexNet(width=1 / 32, classes=2)


def encoded(pixels, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def resized_images(count):
    """Patches of colour rather than noise, so that the crops differ."""
    coarse = random.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((1, 32, 32, 1), np.uint8))


@pytest.mark.numeric
@pytest.mark.medium
def test_ten_crops_equal_the_keras_model(model, signatures):
    images = resized_images(3)
    outputs = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([encoded(image) for image in images]))
    corners = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    crops = [images[:, y : y + 224, x : x + 224] for y, x in corners]
    crops += [crop[:, :, ::-1] for crop in crops]
    logits = np.stack([model.predict(np.ascontiguousarray(crop), verbose=0) for crop in crops]).astype(np.float64)
    expected = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).mean(0)
    assert expected.max() < 0.99, "a saturated softmax would hide errors"
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-4)
    order = np.argsort(-expected, axis=-1)[:, :5]
    np.testing.assert_array_equal(outputs["classes"], order)
    np.testing.assert_allclose(outputs["scores"], np.take_along_axis(expected, order, -1), rtol=1e-4)
    assert [[name.decode() for name in row] for row in outputs["labels"].numpy()] == [
        [NAMES[k] for k in row] for row in order
    ]
    assert outputs["valid"].numpy().all()


@pytest.mark.numeric
@pytest.mark.medium
def test_the_images_signature_gives_the_same_as_the_bytes(signatures):
    images = resized_images(2)
    by_bytes = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([encoded(image) for image in images]))
    by_images = signatures[wire.SIGNATURE_IMAGES](images=tf.constant(images))
    assert set(by_bytes) - set(by_images) == {"valid"}
    np.testing.assert_allclose(by_images["probabilities"], by_bytes["probabilities"], atol=1e-6)


@pytest.mark.numeric
@pytest.mark.medium
def test_the_center_signature_is_one_crop(model, signatures):
    images = resized_images(2)
    outputs = signatures[wire.SIGNATURE_CENTER](image_bytes=tf.constant([encoded(image) for image in images]))
    np.testing.assert_allclose(
        outputs["probabilities"], crop_probabilities(model, tf.constant(images), "center", from_logits=True), rtol=1e-4
    )


@pytest.mark.numeric
@pytest.mark.medium
def test_features_are_fc7s(model, signatures):
    images = resized_images(2)
    outputs = signatures[wire.SIGNATURE_FEATURES](image_bytes=tf.constant([encoded(image) for image in images]))
    kernel, bias = model.get_layer("fc8").get_weights()
    assert outputs["features"].shape == (2, 256)
    logits = model.predict(images[:, 16:240, 16:240], verbose=0)
    np.testing.assert_allclose(0.5 * outputs["features"] @ kernel + bias, logits, rtol=1e-3, atol=1e-4)


@pytest.mark.numeric
@pytest.mark.parametrize("signature", [wire.SIGNATURE_TEN_CROP, wire.SIGNATURE_CENTER, wire.SIGNATURE_FEATURES])
@pytest.mark.medium
def test_a_bad_image_has_zeros_in_its_row_and_affects_no_other(signatures, signature):
    good = encoded(resized_images(1)[0], "JPEG")
    bad = [b"", b"junk", good[: len(good) // 2], b"\xff\xd8\xff" + b"x" * 500, b"GIF89a" + good]
    alone = signatures[signature](image_bytes=tf.constant([good]))
    mixed = signatures[signature](image_bytes=tf.constant([good, *bad, good]))
    assert mixed["valid"].numpy().tolist() == [True] + [False] * len(bad) + [True]
    for name, values in mixed.items():
        zero = b"" if values.dtype == tf.string else 0
        assert np.all(values.numpy()[1:-1] == zero), name
        if values.dtype == tf.float32:
            expected = alone[name].numpy()[[0, 0]]
            np.testing.assert_allclose(values.numpy()[[0, -1]], expected, rtol=0, atol=rounding(expected))
        if name == "labels":
            assert values[0, 0] == values[-1, 0] == alone[name][0, 0]


@pytest.mark.medium
def test_an_empty_batch_has_empty_outputs(signatures):
    outputs = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([], tf.string))
    assert {name: tuple(values.shape) for name, values in outputs.items()} == {
        "probabilities": (0, 7),
        "scores": (0, 5),
        "classes": (0, 5),
        "labels": (0, 5),
        "valid": (0,),
    }


@pytest.mark.medium
def test_the_signatures_are_those_of_the_wire(signatures):
    assert {name: set(function.structured_outputs) for name, function in signatures.items()} == {
        "serving_default": {"probabilities", "scores", "classes", "labels", "valid"},
        "center_crop": {"probabilities", "scores", "classes", "labels", "valid"},
        "images": {"probabilities", "scores", "classes", "labels"},
        "features": {"features", "valid"},
    }
    for function in signatures.values():
        assert all(spec.shape[0] is None for spec in function.structured_outputs.values())


@pytest.mark.medium
def test_with_fewer_than_five_classes_all_of_them_are_ranked(small, tmp_path, unchecked):
    path = export_model(small, tmp_path, ["yes", "no"])
    loaded = tf.saved_model.load(path)
    outputs = loaded.signatures[wire.SIGNATURE_CENTER](image_bytes=tf.constant([encoded(resized_images(1)[0])]))
    assert outputs["scores"].shape == (1, 2) and abs(float(tf.reduce_sum(outputs["scores"])) - 1) < 1e-5


@pytest.mark.medium
def test_each_parameter_is_stored_once(model, exported):
    variables = sum(file.stat().st_size for file in (exported / "variables").iterdir())
    assert 4 * model.count_params() <= variables < 4 * model.count_params() * 1.05
    # A second mean image would be 0.79 MB more.
    assert (exported / "saved_model.pb").stat().st_size < 1_500_000, "the mean image is stored once"


@pytest.mark.medium
def test_versions_count_up_and_are_never_overwritten(small, tmp_path, unchecked):
    (tmp_path / "6").mkdir()
    assert export_model(small, tmp_path, ["a", "b"]) == str(tmp_path / "7")
    before = (tmp_path / "7" / "saved_model.pb").stat()
    with pytest.raises(ValueError, match=r"version=7: found .*; expected .* \(the next free one is 8\)"):
        export_model(small, tmp_path, ["a", "b"], version=7)
    assert (tmp_path / "7" / "saved_model.pb").stat() == before
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_dir()) == ["6", "7"]


@pytest.mark.parametrize("version", [0, -1, 2**63, True, 1.5, "1"])
def test_a_version_that_tensorflow_serving_does_not_take_is_refused(small, tmp_path, unchecked, version):
    with pytest.raises(ValueError, match=r"^version=.*: expected an integer from 1 to 9223372036854775807$"):
        export_model(small, tmp_path, ["a", "b"], version=version)
    assert not list(tmp_path.iterdir())


@pytest.mark.medium
def test_parts_of_killed_exports_are_removed_and_those_of_running_ones_are_not(small, tmp_path, unchecked):
    for name in ("part-1-999-abcd", "part-1-998-abcd"):
        (tmp_path / name / "variables").mkdir(parents=True)
    with file_lock(tmp_path / ".part-1-998-abcd.lock"):
        export_model(small, tmp_path, ["a", "b"])
        names = {entry.name for entry in tmp_path.iterdir()}
    expected = {"1", "batching_params.pbtxt", "models.config", "part-1-998-abcd", ".part-1-998-abcd.lock"}
    assert names == expected


@pytest.mark.parametrize(
    "names, message",
    [(["a"], "class_names: found 1; expected 2"), (["a", "b\nc"], "line breaks"), (["a", ""], "not empty")],
)
def test_class_names_that_do_not_fit_are_refused(small, tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        export_model(small, tmp_path / "base", names)
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"preprocessing": "caffe"}, "^preprocessing='caffe': alexnet_paper contains its own"),
        ({"from_logits": True}, "^from_logits=True: expected False"),
        ({"precision": "float16"}, "^precision='float16': expected one of float32, bfloat16"),
    ],
)
def test_arguments_that_contradict_the_model_are_refused(small, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_model(small, tmp_path / "base", ["a", "b"], **arguments)
    assert not (tmp_path / "base").exists()


@pytest.mark.medium
def test_a_network_without_classifier_is_refused(tmp_path):
    with pytest.raises(ValueError, match="include_top"):
        export_model(AlexNet(width=1 / 32, include_top=False), tmp_path, ["a"])


@pytest.mark.medium
def test_a_failure_leaves_nothing_behind(small, tmp_path, monkeypatch):
    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(ValueError, match=r"^export_base=.*: writing version 1 failed: No space left on device"):
        export_model(small, tmp_path, ["a", "b"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.subprocess
def test_the_export_is_verified_in_a_fresh_process(model, exported):
    network = LoadedNetwork("model", model, from_logits=True)
    verify_export(exported, probes(network, "alexnet", 50_000_000), 1e-4, 1e-6)


@pytest.mark.numeric
@pytest.mark.medium
def test_a_loaded_export_predicts_as_its_model(model, exported):
    for path in (exported, exported.parent):
        network = load_network(path)
        images = tf.constant(resized_images(2))
        outputs = network.signatures[wire.SIGNATURE_IMAGES](images=images)
        expected = crop_probabilities(model, images, from_logits=True)
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
        assert network.model is None and network.class_names == network.display_names == tuple(NAMES)
        assert (network.resize, network.resized_size) == ("shorter_side", 256)


@pytest.mark.medium
def test_a_session_without_soft_placement_loads_it_as_tensorflow_serving_does(exported, signatures):
    good = encoded(resized_images(1)[0], "JPEG")
    with tf.Graph().as_default():
        config = tf.compat.v1.ConfigProto(allow_soft_placement=False)
        with tf.compat.v1.Session(config=config) as session:
            meta_graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(exported))
            signature = meta_graph.signature_def[wire.SIGNATURE_TEN_CROP]
            fetches = {name: info.name for name, info in signature.outputs.items()}
            feed = {signature.inputs[wire.INPUT_BYTES].name: [b"junk", good]}
            outputs = session.run(fetches, feed)
    expected = signatures[wire.SIGNATURE_TEN_CROP](image_bytes=tf.constant([b"junk", good]))
    assert outputs["valid"].tolist() == [False, True]
    np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], rtol=1e-4, atol=1e-6)
    assert outputs["labels"].tolist() == expected["labels"].numpy().tolist()
