"""A small stand-in for the exported AlexNet: the same four signatures, answers that a test can recompute.

The score of class c is the softmax of GAIN[c] . (mean red, green, blue) / 255 + (version - 1) * BIAS[c]:
version 1 names the colour, version 2 always says "other".
"""

import contextlib
import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

from serving import signatures
from serving.client import Client
from serving.server import ModelServer
from tests.helpers import backends
from tests.helpers.fake_service import FakeService, serving_at

# A shell's background jobs ignore Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

CLASS_NAMES = ["red", "grün", "blue", "grey", "dark", "other"]
GAIN = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [3, 3, 3], [-4, -4, -4], [1, 2, 0]], np.float32)
BIAS = np.array([0, 0, 0, 0, 0, 20], np.float32)
MOST_PIXELS = 1_000_000

BytesSpec = tf.TensorSpec([None], tf.string, signatures.INPUT_BYTES)
ImagesSpec = tf.TensorSpec([None, 256, 256, 3], tf.uint8, signatures.INPUT_IMAGES)


def _decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    with tf.control_dependencies([tf.debugging.assert_less(tf.reduce_prod(tf.shape(image)[:2]), MOST_PIXELS)]):
        image = tf.identity(image)
    return tf.reduce_mean(tf.cast(image, tf.float32), axis=(0, 1)), tf.constant(True)


def _mean_rgb_or_zeros(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    fallback = tf.data.Dataset.from_tensors((tf.zeros(3), tf.constant(False)))
    attempt = tf.data.Dataset.from_tensors(encoded).map(_decode).ignore_errors()
    return attempt.concatenate(fallback).take(1).get_single_element()


def _mean_rgb(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    spec = (tf.TensorSpec([3], tf.float32), tf.TensorSpec([], tf.bool))
    return tf.map_fn(_mean_rgb_or_zeros, image_bytes, fn_output_signature=spec)


class StandIn(tf.Module):
    def __init__(self, version: int):
        super().__init__()
        self.bias = tf.Variable((version - 1) * BIAS)

    def _answer(self, mean_rgb: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.linalg.matmul(mean_rgb / 255, GAIN, transpose_b=True) + self.bias
        probabilities = tf.nn.softmax(logits) * tf.cast(valid, tf.float32)[:, None]
        scores, classes = tf.math.top_k(probabilities, signatures.TOP_K)
        labels = tf.where(valid[:, None], tf.gather(tf.constant(CLASS_NAMES), classes), "")
        return {
            signatures.OUTPUT_PROBABILITIES: probabilities,
            signatures.OUTPUT_SCORES: scores,
            signatures.OUTPUT_CLASSES: classes * tf.cast(valid, tf.int32)[:, None],
            signatures.OUTPUT_LABELS: labels,
        }

    @tf.function(input_signature=[BytesSpec])
    def from_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        mean_rgb, valid = _mean_rgb(image_bytes)
        return self._answer(mean_rgb, valid) | {signatures.OUTPUT_VALID: valid}

    @tf.function(input_signature=[ImagesSpec])
    def from_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        # A white corner stands for whatever makes a graph fail.
        check = tf.debugging.assert_less(images[:, 0, 0, 0], tf.constant(255, tf.uint8), "a white corner")
        with tf.control_dependencies([check]):
            mean_rgb = tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))
        return self._answer(mean_rgb, tf.ones(tf.shape(images)[:1], tf.bool))

    @tf.function(input_signature=[BytesSpec])
    def features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        mean_rgb, valid = _mean_rgb(image_bytes)
        features = tf.pad(mean_rgb, [[0, 0], [0, 4093]])
        return {signatures.OUTPUT_FEATURES: features, signatures.OUTPUT_VALID: valid}


@pytest.fixture(scope="session")
def export() -> Callable[[Path, int], Path]:
    """Writes version `version` under a base folder, beside first and then renamed, as the exporter does."""

    def write(base: Path, version: int) -> Path:
        module = StandIn(version)
        served = {
            signatures.SIGNATURE_TEN_CROP: module.from_bytes,
            signatures.SIGNATURE_CENTER: module.from_bytes,
            signatures.SIGNATURE_IMAGES: module.from_images,
            signatures.SIGNATURE_FEATURES: module.features,
        }
        beside = base / f"writing-{version}"
        tf.saved_model.save(module, str(beside), signatures=served)
        return beside.rename(base / str(version))

    return write


@pytest.fixture(scope="session")
def model_base(tmp_path_factory: pytest.TempPathFactory, export: Callable[[Path, int], Path]) -> Path:
    """A base folder with version 1, older and unfit folders beside it. Not to be written to."""
    base = tmp_path_factory.mktemp("models")
    export(base, 1)
    (base / "2").mkdir()
    (base / "notes").mkdir()
    return base


@pytest.fixture(scope="session")
def server(model_base: Path) -> Iterator[ModelServer]:
    with ModelServer("alexnet", model_base) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ModelServer) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
def free_address() -> str:
    return f"127.0.0.1:{backends.free_port()}"


@pytest.fixture
def fake() -> Iterator[tuple[FakeService, str]]:
    service = FakeService()
    with serving_at(service) as address:
        yield service, address


@pytest.fixture(scope="session")
def photograph() -> Callable[..., bytes]:
    """Encodes a noisy image around one colour; the same arguments give the same bytes."""

    def encode(colour: tuple[int, int, int], size: tuple[int, int] = (48, 32), kind: str = "JPEG") -> bytes:
        noise = np.random.default_rng(0).integers(-20, 20, (size[1], size[0], 3))
        pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return buffer.getvalue()

    return encode


@contextlib.contextmanager
def defined_flags(module: ModuleType, *arguments: str) -> Iterator[list[str]]:
    """The flags of a command, parsed; they are gone afterwards."""
    defined_before = set(flags.FLAGS)
    module.define_flags()
    try:
        yield flags.FLAGS(["command", *arguments])
    finally:
        for name in set(flags.FLAGS) - defined_before:
            delattr(flags.FLAGS, name)


@pytest.fixture
def command_flags() -> Iterator[Callable[..., flags.FlagValues]]:
    """Parses the flags of one command."""
    with contextlib.ExitStack() as ends:

        def parse(module: ModuleType, *arguments: str) -> flags.FlagValues:
            ends.enter_context(defined_flags(module, *arguments))
            return flags.FLAGS

        yield parse


@pytest.fixture
def command() -> Callable[..., int | None]:
    """Runs a command's main in this process, as `python -m` would."""

    def call(module: ModuleType, *arguments: str) -> int | None:
        with defined_flags(module, *arguments) as argv:
            return module.main(argv)

    return call


@pytest.fixture
def start_server() -> Iterator[Callable[..., backends.Running]]:
    """`backends.start`; every server that it started is ended."""
    with contextlib.ExitStack() as ends:

        def start(backend: str, *arguments: str) -> backends.Running:
            running = backends.start(backend, *arguments)
            ends.callback(running.end)
            return running

        yield start
