"""Loads an exported folder as TensorFlow Serving does, and asks it what the exporter knows the answers to.

Run by the exporter in a process of its own, on the CPU (the exporter may hold all memory of a GPU):

    python export_check.py <folder> <tolerance> <file of requests> ...

Every record of the files is a PredictionLog: a request, and what is known of its answer. Ends with exit code 1 and one
line on stdout at the first request that fails or is answered otherwise. Nothing of the project is imported, so that
what is tested is the folder alone.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog


class WrongAnswerError(Exception):
    """An answer that is not the right one."""


def check(folder: Path, tolerance: float, files: list[str]) -> int:
    """Asks all requests in `files` and returns how many there were.

    Raises:
      WrongAnswerError: if an answer differs by more than `tolerance` times the largest value expected (at least 1).
      tf.errors.OpError: if the folder cannot be loaded, or a request fails.
    """
    records = [record.numpy() for record in tf.data.TFRecordDataset(files)]
    with tf.Graph().as_default():
        config = tf.compat.v1.ConfigProto(allow_soft_placement=False)
        with tf.compat.v1.Session(config=config) as session:
            graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(folder))
            names = (folder / "assets" / "labels.txt").read_text("utf-8").splitlines()
            for record in records:
                log = PredictionLog.FromString(record).predict_log
                _check_answer(log, _answer(session, graph.signature_def, log.request), names, tolerance)
    return len(records)


def _answer(session, signatures, request) -> dict[str, np.ndarray]:
    signature = signatures[request.model_spec.signature_name]
    feed = {signature.inputs[name].name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    return session.run({name: info.name for name, info in signature.outputs.items()}, feed)


def _check_answer(log, answer: dict[str, np.ndarray], names: list[str], tolerance: float) -> None:
    signature = log.request.model_spec.signature_name
    rows = next(iter(log.request.inputs.values())).tensor_shape.dim[0].size
    for name, values in answer.items():
        if len(values) != rows:
            raise WrongAnswerError(f"{signature}: {name} has {len(values)} rows for a request of {rows}")
        if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
            raise WrongAnswerError(f"{signature}: {name} has values that are not finite")
    for name, tensor in log.response.outputs.items():
        expected = tf.make_ndarray(tensor)
        largest = np.max(np.abs(expected.astype(np.float64) - answer[name]))
        allowed = tolerance * max(1.0, np.max(np.abs(expected))) if expected.dtype.kind == "f" else 0
        if not largest <= allowed:
            raise WrongAnswerError(
                f"{signature}: {name} differs from the Keras model's by {largest:.3g}; expected at most {allowed:.3g}"
            )
    if "classes" in answer:
        _check_ranking(signature, answer, names)


def _check_ranking(signature: str, answer: dict[str, np.ndarray], names: list[str]) -> None:
    for row, (scores, classes, labels) in enumerate(
        zip(answer["scores"], answer["classes"], answer["labels"], strict=True)
    ):
        is_valid = "valid" not in answer or answer["valid"][row]
        expected = [names[k] for k in classes] if is_valid else [""] * len(classes)
        best = np.sort(answer["probabilities"][row])[::-1][: len(classes)]
        if [label.decode() for label in labels] != expected or not np.array_equal(scores, best):
            raise WrongAnswerError(f"{signature}: classes, labels or scores are not those of the largest probabilities")


if __name__ == "__main__":
    try:
        print(check(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
    except (WrongAnswerError, tf.errors.OpError, OSError, ValueError, KeyError) as error:
        print(" ".join(f"{type(error).__name__}: {error}".split())[:2000])
        sys.exit(1)
