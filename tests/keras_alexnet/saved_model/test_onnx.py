"""`export --format=onnx`, read by ONNX Runtime and OpenVINO."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_alexnet.saved_model import onnx as onnx_export
from keras_alexnet.saved_model.onnx import export_onnx
from serving.signatures import INPUT_IMAGES, OUTPUT_PROBABILITIES
from tests.keras_alexnet.saved_model.conftest import NAMES

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.medium

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 256, 256, 3), np.uint8)


@pytest.fixture(scope="module")
def version(model, tmp_path_factory) -> Path:
    return Path(export_onnx(model, tmp_path_factory.mktemp("repository") / "alexnet", NAMES))


def predictions(version: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(version / "model.onnx"))
    return session.run([OUTPUT_PROBABILITIES], {INPUT_IMAGES: images})[0]


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_gives_the_probabilities_of_the_saved_model(version, signatures, batch):
    expected = signatures["images"](images=IMAGES[:batch])["probabilities"]
    np.testing.assert_allclose(predictions(version, IMAGES[:batch]), expected, atol=1e-4)


def test_openvino_reads_the_same_file(version, signatures, monkeypatch):
    monkeypatch.setenv("CI", "true")  # no telemetry
    pytest.importorskip("openvino")
    from keras_alexnet.benchmark.runtimes import openvino_core

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino_core().compile_model(str(version / "model.onnx"), "CPU", options)
    expected = signatures["images"](images=IMAGES)["probabilities"]
    np.testing.assert_allclose(compiled({INPUT_IMAGES: IMAGES})[OUTPUT_PROBABILITIES], expected, atol=1e-4)


def test_the_centre_crop(model, signatures, tmp_path):
    from keras_alexnet.ten_crop import crop_probabilities

    version = Path(export_onnx(model, tmp_path / "center", NAMES, 3, crops="center"))
    assert version == tmp_path / "center" / "3"
    expected = crop_probabilities(model, IMAGES, "center", from_logits=True)
    np.testing.assert_allclose(predictions(version, IMAGES), expected, atol=1e-4)


def test_another_network_and_its_preprocessing(tmp_path):
    model = keras.Sequential(
        [keras.Input((28, 28, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(7)]
    )
    version = Path(export_onnx(model, tmp_path / "other", NAMES, preprocessing="tf", from_logits=True))
    assert predictions(version, IMAGES[:, :32, :32]).shape == (3, 7)


def small_model(dtype=None, **convolution) -> keras.Model:
    keras.utils.set_random_seed(0)
    images = keras.Input((28, 28, 3))
    maps = keras.layers.Conv2D(4, 3, dtype=dtype, **convolution)(images)
    maps = keras.layers.BatchNormalization(dtype=dtype)(maps)
    nested = keras.Sequential([keras.Input(maps.shape[1:]), keras.layers.Conv2D(4, 3, dtype=dtype)])
    return keras.Model(images, keras.layers.Dense(7, dtype=dtype)(keras.layers.Flatten(dtype=dtype)(nested(maps))))


@pytest.mark.parametrize("dtype, activation", [(None, "gelu"), ("mixed_bfloat16", "relu"), ("mixed_float16", "relu")])
def test_gelu_batch_normalization_and_mixed_precision(tmp_path, dtype, activation):
    model = small_model(dtype, activation=activation)
    version = Path(export_onnx(model, tmp_path / "small", NAMES, preprocessing="tf", from_logits=True, crops="center"))
    crops = IMAGES[:, 2:30, 2:30] / np.float32(127.5) - 1
    expected = keras.ops.softmax(keras.ops.cast(model(crops), "float32"))
    precision = 1e-4 if dtype is None else 0.02
    np.testing.assert_allclose(predictions(version, IMAGES[:, :32, :32]), expected, atol=precision)
    assert np.ptp(expected) > 5 * precision, "equal probabilities would hide errors"


class Tokens(keras.layers.Layer):
    """Patches with learned positions, which are a tensor that the layer creates once, in a layer of its own."""

    def build(self, shape):
        self.positions = keras.ops.arange(14 * 14)
        self.patches = keras.layers.Conv2D(4, 2, strides=2, activation="gelu", dtype=self.dtype_policy)
        self.embedding = keras.layers.Embedding(14 * 14, 4, dtype=self.dtype_policy)

    def call(self, images):
        return keras.ops.reshape(self.patches(images), (-1, 14 * 14, 4)) + self.embedding(self.positions)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_operations_inner_layers_and_constants_in_mixed_precision(tmp_path, policy):
    keras.utils.set_random_seed(0)
    images = keras.Input((28, 28, 3))
    maps = keras.ops.mean(Tokens(dtype=policy)(images / 255), 1)
    model = keras.Model(images, keras.layers.Dense(7, dtype=policy)(maps))
    version = Path(
        export_onnx(model, tmp_path / "tokens", NAMES, preprocessing="none", from_logits=True, crops="center")
    )
    expected = keras.ops.softmax(keras.ops.cast(model(IMAGES[:, 2:30, 2:30].astype(np.float32)), "float32"))
    np.testing.assert_allclose(
        predictions(version, IMAGES[:, :32, :32]), expected, atol=1e-4 if policy == "float32" else 0.02
    )
    assert model.layers[-1].dtype_policy.name == policy


def test_weights_of_half_precision_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^model: .* has the dtype policy bfloat16; expected float32, mixed_float16"):
        export_onnx(small_model("bfloat16"), tmp_path / "small", NAMES, preprocessing="tf", from_logits=True)


def test_a_users_config_of_triton_is_kept(tmp_path):
    model, options = small_model(), {"preprocessing": "tf", "from_logits": True}
    export_onnx(model, tmp_path / "small", NAMES, **options)
    config = tmp_path / "small" / "config.pbtxt"
    text = config.read_text("utf-8").replace("dims: [32, 32, 3]", "dims: [-1, -1, 3]  # was dims: [32, 32, 3]")
    text += 'model_warmup [{ inputs { key: "images" value { data_type: TYPE_UINT8 dims: [32, 32, 3] } } }]\n'
    config.write_text(text, "utf-8")
    export_onnx(model, tmp_path / "small", NAMES, **options)
    assert config.read_text("utf-8") == text


@pytest.mark.parametrize(
    "names, options, says",
    [
        (NAMES[::-1], {}, "labels.txt has other labels than this model"),
        (NAMES, {"image_size": 28, "resize_size": 40}, "config.pbtxt has dims 32,32,3 and 7, this model 40,40,3 and 7"),
        (NAMES, {"crops": "center"}, "config.pbtxt has crops ten, this model center"),
    ],
)
def test_versions_that_triton_cannot_serve_under_one_name_are_refused(tmp_path, names, options, says):
    model, base = small_model(), tmp_path / "small"
    shared = {"preprocessing": "tf", "from_logits": True}
    export_onnx(model, base, NAMES, **shared)
    export_onnx(model, base, NAMES, **shared)
    with pytest.raises(ValueError, match=r"^export_base=.*expected another directory$") as error:
        export_onnx(model, base, names, **shared | options)
    assert says in str(error.value)
    assert sorted(path.name for path in base.iterdir()) == ["1", "2", "config.pbtxt", "labels.txt"]


def test_the_layout_is_a_triton_repository(version):
    import onnx

    config = (version.parent / "config.pbtxt").read_text("utf-8")
    assert 'name: "alexnet"' in config and "dims: [256, 256, 3]" in config and "dims: [7]" in config
    assert (version.parent / "labels.txt").read_text("utf-8").splitlines() == NAMES
    properties = {entry.key: entry.value for entry in onnx.load(version / "model.onnx").metadata_props}
    assert json.loads(properties["class_names"]) == NAMES
    assert (properties["crops"], properties["resize"]) == ("ten", "shorter_side")


def test_a_file_with_other_predictions_is_not_published(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="probabilities in ONNX Runtime differ"):
        export_onnx(model, tmp_path / "alexnet", NAMES)
    assert list((tmp_path / "alexnet").iterdir()) == []


def test_a_missing_library_and_wrong_crops_are_named(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="crops='five': expected 'center' or 'ten'"):
        export_onnx(model, tmp_path / "alexnet", NAMES, crops="five")
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'keras-alexnet\[onnx\]'"):
        export_onnx(model, tmp_path / "alexnet", NAMES)
