"""Loads an exported version as TensorFlow Serving does, and compares its predictions with those expected.

Run by the exporter in a process of its own, on the CPU (the exporter may hold all memory of a GPU):

    python verify.py <version directory> <relative> <absolute> <file of requests> ...

Every record of the files is a PredictionLog: a request, and expected outputs. Ends with exit code 1 and one line on
stdout at the first request that fails or gives other outputs. Nothing of the project is imported, so that only the
exported files are tested.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog


class WrongPredictionError(Exception):
    """A prediction is not the expected one."""


def check(folder: Path, relative: float, absolute: float, files: list[str]) -> int:
    """Sends all requests in `files` and returns their number.

    Raises:
      WrongPredictionError: an output differs by more than `relative` times the largest expected value, plus `absolute`.
      tf.errors.OpError: the version cannot be loaded, or a request fails.
    """
    records = [record.numpy() for record in tf.data.TFRecordDataset(files)]
    with tf.Graph().as_default():
        config = tf.compat.v1.ConfigProto(allow_soft_placement=False)
        with tf.compat.v1.Session(config=config) as session:
            graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(folder))
            names = (folder / "assets" / "labels.txt").read_text("utf-8").split("\n")[:-1]
            for record in records:
                log = PredictionLog.FromString(record).predict_log
                _check_outputs(log, _predict(session, graph.signature_def, log.request), names, relative, absolute)
    return len(records)


def _predict(session: Any, signatures: Any, request: PredictRequest) -> dict[str, np.ndarray]:
    signature = signatures[request.model_spec.signature_name]
    feed = {signature.inputs[name].name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    return session.run({name: info.name for name, info in signature.outputs.items()}, feed)


def _check_outputs(
    log: PredictLog, outputs: dict[str, np.ndarray], names: list[str], relative: float, absolute: float
) -> None:
    signature = log.request.model_spec.signature_name
    rows = next(iter(log.request.inputs.values())).tensor_shape.dim[0].size
    for name, values in outputs.items():
        if len(values) != rows:
            raise WrongPredictionError(f"{signature}: {name} has {len(values)} rows for a request of {rows}")
        if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
            raise WrongPredictionError(f"{signature}: {name} has values that are not finite")
    for name, tensor in log.response.outputs.items():
        expected = tf.make_ndarray(tensor)
        largest = np.max(np.abs(expected.astype(np.float64) - outputs[name]))
        allowed = relative * np.max(np.abs(expected)) + absolute if expected.dtype.kind == "f" else 0
        if not largest <= allowed:
            raise WrongPredictionError(
                f"{signature}: {name} differs from the Keras model's by {largest:.3g}; expected at most {allowed:.3g}"
            )
    if "classes" in outputs:
        _check_ranking(signature, outputs, names)


def _check_ranking(signature: str, outputs: dict[str, np.ndarray], names: list[str]) -> None:
    for row, (scores, classes, labels) in enumerate(
        zip(outputs["scores"], outputs["classes"], outputs["labels"], strict=True)
    ):
        is_valid = "valid" not in outputs or outputs["valid"][row]
        expected = [names[k] for k in classes] if is_valid else [""] * len(classes)
        best = np.sort(outputs["probabilities"][row])[::-1][: len(classes)]
        if [label.decode() for label in labels] != expected or not np.array_equal(scores, best):
            raise WrongPredictionError(
                f"{signature}: classes, labels or scores are not those of the largest probabilities"
            )


if __name__ == "__main__":
    try:
        print(check(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
    except (WrongPredictionError, tf.errors.OpError, OSError, ValueError, KeyError) as error:
        print(" ".join(f"{type(error).__name__}: {error}".split())[:2000])
        sys.exit(1)
