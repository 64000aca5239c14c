"""Requests that go with an export: warm-up requests, and probes whose right answers the Keras model has given.

TensorFlow Serving replays the warm-up requests on loading, so that the first user does not wait for it; a request
that fails would fail the loading.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_alexnet.layers import TowerDropout
from pipelines.images import crops, decode
from pipelines.images.crops import RESIZED_SIZE
from serving import signatures as wire

# Where TensorFlow Serving looks (saved_model_warmup.md).
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# What TensorFlow Serving's batching fills requests up to, and so what has to be warm. Powers of two waste less than
# half of the work; 16 images are about a second of two cores' time.
ALLOWED_BATCH_SIZES = (1, 2, 4, 8, 16)

BYTES_SIGNATURES = (wire.SIGNATURE_TEN_CROP, wire.SIGNATURE_CENTER, wire.SIGNATURE_FEATURES)

Tensors = Mapping[str, np.ndarray | list[bytes]]


def warmup_requests(model_name: str) -> list[PredictionLog]:
    """One request for every signature and every one of ALLOWED_BATCH_SIZES."""
    ramp = np.broadcast_to(np.arange(RESIZED_SIZE, dtype=np.uint8)[:, None, None], (RESIZED_SIZE, RESIZED_SIZE, 3))
    encoded = _encoded(ramp, "JPEG")
    logs = []
    for size in ALLOWED_BATCH_SIZES:
        images = np.broadcast_to(ramp, (size, *ramp.shape))
        logs += [_log(model_name, name, {wire.INPUT_BYTES: [encoded] * size}) for name in BYTES_SIGNATURES]
        logs.append(_log(model_name, wire.SIGNATURE_IMAGES, {wire.INPUT_IMAGES: images}))
    return logs


def probes(model: keras.Model, model_name: str, resize: str, max_pixels: int) -> list[PredictionLog]:
    """One request for every signature, with what `model` makes of it: the plain way, view by view.

    Args:
      model: an `AlexNet` giving logits or probabilities.
      model_name: goes into the requests.
      resize: one of `crops.RESIZE_POLICIES`.
      max_pixels: larger images are answered as bad ones.
    """
    random = np.random.default_rng(0)
    blotches = np.kron(random.integers(0, 256, (8, 8, 3), np.uint8), np.ones((32, 32, 1), np.uint8))
    photograph = Image.fromarray(blotches).resize((400, 300), Image.Resampling.BICUBIC)
    files = [_encoded(blotches, "PNG"), _encoded(photograph, "JPEG"), b"no image"]
    images = [decode.decode_rgb(file) for file in files[:2]]
    valid = np.array([tf.size(image) // 3 <= max_pixels for image in images] + [False])
    stored = np.stack([crops.resize_image(image, resize) for image in images])
    ten, center = _probabilities(model, stored, "ten"), _probabilities(model, stored, "center")

    def bytes_probe(name: str, output: str, rows: np.ndarray) -> PredictionLog:
        rows = np.where(valid[:, np.newaxis], [*rows, np.zeros_like(rows[0])], np.float32(0))
        return _log(model_name, name, {wire.INPUT_BYTES: files}, {output: rows, wire.OUTPUT_VALID: valid})

    return [
        bytes_probe(wire.SIGNATURE_TEN_CROP, wire.OUTPUT_PROBABILITIES, ten),
        bytes_probe(wire.SIGNATURE_CENTER, wire.OUTPUT_PROBABILITIES, center),
        bytes_probe(wire.SIGNATURE_FEATURES, wire.OUTPUT_FEATURES, _features(model, stored)),
        _log(model_name, wire.SIGNATURE_IMAGES, {wire.INPUT_IMAGES: stored}, {wire.OUTPUT_PROBABILITIES: ten}),
    ]


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


def _probabilities(model: keras.Model, stored: np.ndarray, views: str) -> np.ndarray:
    gives_logits = model.get_layer("predictions").activation is keras.activations.linear
    seen = tf.unstack(crops.select_crops(stored, views, model.input_shape[1]), axis=1)
    scores = [tf.cast(model(tf.cast(view, tf.float32), training=False), tf.float32) for view in seen]
    return np.mean([tf.nn.softmax(rows) if gives_logits else rows for rows in scores], axis=0)


def _features(model: keras.Model, stored: np.ndarray) -> np.ndarray:
    layers = model.layers
    below = layers[layers.index(model.get_layer("fc8")) - 1]
    towers = below.input if isinstance(below, TowerDropout) else below.output
    outputs = keras.Model(model.inputs, towers)(
        tf.cast(crops.center_crop(stored, model.input_shape[1]), tf.float32), training=False
    )
    return np.concatenate([tf.cast(rows, tf.float32) for rows in tf.nest.flatten(outputs)], -1)
