"""Replays a version's warm-up requests before it is served, as TensorFlow Serving does: any failure refuses it."""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving import examples
from serving.request_errors import RequestError
from serving.servable import Servable

# Where TensorFlow Serving looks, and how much it takes (saved_model_warmup_util.h).
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000


class WarmupError(Exception):
    """The warm-up requests cannot be replayed; the version must not be served."""


def replay_warmup(servable: Servable, folder: Path) -> int:
    """Sends `servable` the requests stored in `folder`, if there are any.

    Returns:
        How many there were.

    Raises:
        WarmupError: the file is broken, has more than MOST_RECORDS, or a request fails or is of a kind that
            TensorFlow Serving does not replay.
    """
    path = folder / WARMUP_FILE
    if not path.exists():
        return 0
    number = 0
    for number, log in enumerate(_records(path), start=1):
        if number > MOST_RECORDS:
            raise WarmupError(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}")
        try:
            _replay(servable, log)
        except RequestError as error:
            raise WarmupError(f"warm-up record {number} of {path}: {error.code.name}: {error}") from error
    return number


def _records(path: Path) -> Iterator[PredictionLog]:
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield PredictionLog.FromString(record.numpy())
    except DecodeError as error:
        raise WarmupError(f"Failed to parse warmup record from {path}") from error
    except tf.errors.OpError as error:
        raise WarmupError(f"{path}: {error.message}. Please verify your warmup data is in TFRecord format.") from error


def _replay(servable: Servable, log: PredictionLog) -> None:
    match log.WhichOneof("log_type"):
        case "predict_log":
            servable.predict(log.predict_log.request)
        case "classify_log":
            examples.classify(servable, log.classify_log.request)
        case "regress_log":
            examples.regress(servable, log.regress_log.request)
        case "multi_inference_log":
            examples.multi_inference(servable, log.multi_inference_log.request)
        case kind:
            raise WarmupError(f"Unsupported log_type for warmup: {kind}")
