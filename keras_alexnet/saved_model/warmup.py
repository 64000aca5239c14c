"""Requests that go with an export: warm-up requests, and probes with the predictions of the Keras model.

TensorFlow Serving replays the warm-up requests when it loads a version, so that the first request is not slow; a
request that fails makes loading fail.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_alexnet.classifier import alexnet_input, classifier_features
from keras_alexnet.pretrained import LoadedNetwork
from keras_alexnet.saved_model.classifier_layer import find_classifier, flat_features, observed
from keras_alexnet.ten_crop import preprocess, to_probabilities
from pipelines.choices import RESIZED_SIZE
from pipelines.images import crops, decode
from serving import signatures as wire

# Where TensorFlow Serving looks (saved_model_warmup.md).
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# TensorFlow Serving's batching pads requests to these sizes, so they are warmed up. Powers of two waste less than half
# of the work; 16 images take two cores about a second.
ALLOWED_BATCH_SIZES = (1, 2, 4, 8, 16)

BYTES_SIGNATURES = (wire.SIGNATURE_TEN_CROP, wire.SIGNATURE_CENTER, wire.SIGNATURE_FEATURES)

Tensors = Mapping[str, np.ndarray | list[bytes]]


def warmup_requests(model_name: str, size: int = RESIZED_SIZE) -> list[PredictionLog]:
    """One request for every signature and every one of ALLOWED_BATCH_SIZES, with files of both formats.

    Args:
      model_name: goes into the requests.
      size: side of the images of the signature "images", in pixels.
    """
    ramp = np.linspace(0, 255, size, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    ramp = np.broadcast_to(ramp, (size, size, 3))
    files = [_encoded(ramp, "JPEG"), _encoded(ramp, "PNG")] * max(ALLOWED_BATCH_SIZES)
    logs = []
    for count in ALLOWED_BATCH_SIZES:
        images = np.broadcast_to(ramp, (count, *ramp.shape))
        logs += [_log(model_name, name, {wire.INPUT_BYTES: files[:count]}) for name in BYTES_SIGNATURES]
        logs.append(_log(model_name, wire.SIGNATURE_IMAGES, {wire.INPUT_IMAGES: images}))
    return logs


def probes(network: LoadedNetwork, model_name: str, max_pixels: int) -> list[PredictionLog]:
    """One request for every signature, with the predictions of the Keras model, which is called crop by crop.

    Args:
      network: the one that is exported; it has a model.
      model_name: goes into the requests.
      max_pixels: larger images count as not decodable.

    Raises:
      ValueError: the outputs are declared to be probabilities, but are not between 0 and 1.
    """
    model = network.model
    assert model is not None
    random = np.random.default_rng(0)
    pixels = np.kron(random.integers(0, 256, (8, 8, 3), np.uint8), np.ones((32, 32, 1), np.uint8))
    photograph = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    files = [_encoded(pixels, "PNG"), _encoded(photograph, "JPEG"), b"no image"]
    decoded = [decode.decode_rgb(file) for file in files[:2]]
    valid = np.array([tf.size(image) // 3 <= max_pixels for image in decoded] + [False])
    images = np.stack([crops.resize_image(image, network.resize, network.resized_size) for image in decoded])
    ten, center = (_probabilities(network, images, which) for which in ("ten", "center"))
    if not (np.all(ten > -1e-3) and np.all(ten < 1 + 1e-3)):
        raise ValueError(
            f"from_logits={network.from_logits}: found outputs {ten.min():.3g} to {ten.max():.3g}; expected 0 to 1"
        )
    features = _features(model, preprocess(crops.center_crop(images, model.input_shape[1]), network.preprocessing))

    def bytes_probe(name: str, output: str, rows: np.ndarray) -> PredictionLog:
        rows = np.where(valid[:, np.newaxis], [*rows, np.zeros_like(rows[0])], np.float32(0))
        return _log(model_name, name, {wire.INPUT_BYTES: files}, {output: rows, wire.OUTPUT_VALID: valid})

    return [
        bytes_probe(wire.SIGNATURE_TEN_CROP, wire.OUTPUT_PROBABILITIES, ten),
        bytes_probe(wire.SIGNATURE_CENTER, wire.OUTPUT_PROBABILITIES, center),
        bytes_probe(wire.SIGNATURE_FEATURES, wire.OUTPUT_FEATURES, features),
        _log(model_name, wire.SIGNATURE_IMAGES, {wire.INPUT_IMAGES: images}, {wire.OUTPUT_PROBABILITIES: ten}),
    ]


def _probabilities(network: LoadedNetwork, images: np.ndarray, which: str) -> np.ndarray:
    """The means over crops, `[N, classes]`."""
    assert network.model is not None
    # Outside a graph, Keras keeps the outputs of all layers during a call: 20 crops of NASNetLarge take over 20 GB.
    means = []
    for selected in crops.select_crops(images, which, network.model.input_shape[1]):
        outputs = [network.model(preprocess(crop[None], network.preprocessing), training=False) for crop in selected]
        means.append(tf.reduce_mean(to_probabilities(tf.concat(outputs, 0), network.from_logits), 0))
    return np.stack(means)


def _features(model: keras.Model, center_crops: tf.Tensor) -> np.ndarray:
    if alexnet_input(model) is not None:
        return flat_features(classifier_features(model)(center_crops, training=False)).numpy()
    with observed([find_classifier(model)]) as calls:
        model(center_crops, training=False)
    return flat_features(calls[-1].inputs).numpy()


def write_logs(path: Path, logs: Iterable[PredictionLog]) -> None:
    """Writes a file of TFRecords, as TensorFlow Serving reads them."""
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def _log(model_name: str, signature: str, inputs: Tensors, outputs: Tensors | None = None) -> PredictionLog:
    log = PredictionLog()
    request, response = log.predict_log.request, log.predict_log.response
    request.model_spec.name, request.model_spec.signature_name = model_name, signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    for name, values in (outputs or {}).items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    return log


def _encoded(image: np.ndarray | Image.Image, form: str) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()
