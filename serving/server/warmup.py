"""Replays a version's warm-up requests before it is served, as TensorFlow Serving does; a failure rejects it."""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from pipelines.cli import reason_of
from serving.server.servable import Servable
from serving.server.status import RequestError

# The file and its limit in TensorFlow Serving (saved_model_warmup_util.h).
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000


class WarmupError(ValueError):
    """The warm-up requests cannot be replayed; the version must not be served."""


def replay_warmup(servable: Servable, folder: Path) -> int:
    """Sends `servable` the requests stored in `folder`, if there are any.

    Returns:
        The number of requests.

    Raises:
        WarmupError: the file is broken, has more than MOST_RECORDS, or a request fails or is not a Predict request.
    """
    path = folder / WARMUP_FILE
    if not path.exists():
        return 0
    number = 0
    for number, log in enumerate(_records(path), start=1):
        if number > MOST_RECORDS:
            raise WarmupError(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}")
        kind = log.WhichOneof("log_type")
        if kind != "predict_log":
            raise WarmupError(f"warm-up record {number} of {path}: expected a predict_log, found {kind}")
        try:
            servable.predict(log.predict_log.request)
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
        raise WarmupError(
            f"{path}: {reason_of(error)}. Please verify your warmup data is in TFRecord format."
        ) from error
