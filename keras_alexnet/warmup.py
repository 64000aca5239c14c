"""Warm-up requests: TensorFlow Serving replays them on loading, so that the first user does not wait for it."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.crops import STORED_SIZE
from serving import signatures as wire

# Where TensorFlow Serving looks (saved_model_warmup.md).
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(
    version_dir: Path, model_name: str, signatures: dict[str, tf.types.experimental.ConcreteFunction]
) -> None:
    """Writes one request of one image a signature, after running it: a record that fails would fail the loading."""
    path = version_dir / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    inputs = _one_image()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in signatures.items():
            input_name = wire.INPUT_IMAGES if name == wire.SIGNATURE_IMAGES else wire.INPUT_BYTES
            function(**{input_name: tf.constant(inputs[input_name])})
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            request.inputs[input_name].CopyFrom(tf.make_tensor_proto(inputs[input_name]))
            writer.write(log.SerializeToString())


def _one_image() -> dict[str, np.ndarray | list[bytes]]:
    """A grey ramp, for each of the two inputs."""
    ramp = np.broadcast_to(np.arange(STORED_SIZE, dtype=np.uint8)[:, None, None], (STORED_SIZE, STORED_SIZE, 3))
    return {wire.INPUT_IMAGES: ramp[None], wire.INPUT_BYTES: [tf.io.encode_jpeg(ramp).numpy()]}
