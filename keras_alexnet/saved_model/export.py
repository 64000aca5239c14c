"""`export_model`: writes a version of a model for TensorFlow Serving, verifies it and publishes it by one rename."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_alexnet.classifier import (
    alexnet_input,
    check_classifier,
    resolve_inputs_and_outputs,
    with_image_size,
)
from keras_alexnet.saved_model import PRECISIONS, verify
from keras_alexnet.saved_model.files import model_card, write_card, write_serving_config
from keras_alexnet.saved_model.generic_network import GenericNetwork
from keras_alexnet.saved_model.graph import refuse_random_numbers, remove_devices
from keras_alexnet.saved_model.module import Network, ServingModule
from keras_alexnet.saved_model.serving_network import ServingNetwork
from keras_alexnet.saved_model.warmup import WARMUP_FILE, probes, warmup_requests, write_logs
from keras_alexnet.ten_crop import Preprocessing
from pipelines.atomic import FileLockedError, file_lock
from pipelines.choices import MAX_PIXELS
from pipelines.cli import reason_of
from serving.signatures import CLASS_NAMES_ASSET, LABELS_ASSET, TOP_K

# Allowed differences from the Keras model, relative to the largest value and absolute: float32 differs in the order of
# additions, bfloat16 has 8 bits.
_TOLERANCES = {"float32": (1e-2, 1e-6), "bfloat16": (0.2, 0.2)}


def export_model(
    model: keras.Model,
    export_base: str | os.PathLike[str],
    class_names: Sequence[str],
    version: int | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    from_logits: bool | None = None,
    image_size: int | None = None,
    labels: Sequence[str] | None = None,
    precision: str = "float32",
    top_k: int = TOP_K,
    max_pixels: int = MAX_PIXELS,
    training: Mapping[str, Any] | None = None,
) -> str:
    """Writes `<export_base>/<version>/`, a SavedModel with the signatures of `serving.signatures`.

    A fresh process loads it as TensorFlow Serving does, and its predictions are compared with those of `model`; only
    then it is published, by one rename. Beside the versions, `batching_params.pbtxt` and `models.config` for
    TensorFlow Serving are written unless they exist.

    Args:
      model: an `AlexNet` with its classifier, or any Keras classifier of `[N, S, S, 3]`, nested and subclassed models
        included; on any placement. It is not changed.
      export_base: directory of the model's versions; created if necessary.
      class_names: one per class, not empty, without line breaks.
      version: 1 or more; by default one more than the highest that exists.
      preprocessing: what the model expects to be done to crops with RGB 0..255: "none" if it contains its
        preprocessing, "tf" (-1..1), "torch" or "caffe" as in `keras.applications`, or a function of float32
        `[N, S, S, 3]`. Inferred for an `AlexNet`, required for other models.
      from_logits: whether the model's outputs are logits rather than probabilities. Inferred for an `AlexNet`, required
        for other models.
      image_size: S, for a model that accepts images of several sizes, such as those of keras-hub.
      labels: values of the output "labels", one per class; the class names by default.
      precision: "float32", or "bfloat16" (AlexNet only) for weights and most of the arithmetic.
      top_k: how many classes a prediction names, at least 1; all of them if there are fewer.
      max_pixels: larger images count as not decodable.
      training: facts for the model card, as JSON can hold them.

    Returns:
      The path of the new version.

    Raises:
      ValueError: an argument is missing or wrong, the version exists, the directory cannot be written, or the exported
        predictions differ from the model's. Nothing is left behind then.

    Example:

    ```python
    export_model(AlexNet(classes=2, weights="mine.weights.h5"), "export/alexnet", ["cat", "dog"])
    mobilenet = keras.applications.MobileNet()
    export_model(mobilenet, "export/mobilenet", imagenet_names, preprocessing="tf", from_logits=False)
    ```
    """
    if isinstance(model, keras.Model):
        model = with_image_size(model, image_size)
    check_classifier(model)
    labels = class_names if labels is None else labels
    for argument, names in (("class_names", class_names), ("labels", labels)):
        _check_names(model, argument, names)
    preprocessing, from_logits = resolve_inputs_and_outputs(model, preprocessing, from_logits)
    base = Path(export_base)
    target = base / str(_next_version(base) if version is None else version)
    _refuse_existing(target)
    network = _serving_network(model, precision, preprocessing, from_logits)
    module = ServingModule(network, labels, top_k, max_pixels)
    served = {"precision": precision, "top_k": module.top_k, "max_pixels": max_pixels, "resize": network.resize}
    inputs_and_outputs: dict[str, Any] = {"preprocessing": preprocessing, "from_logits": from_logits}
    with _part_of(target) as part:
        _save(module, part)
        (part / "assets").mkdir(exist_ok=True)
        for asset, names in ((CLASS_NAMES_ASSET, class_names), (LABELS_ASSET, labels)):
            (part / "assets" / asset).write_text("".join(f"{name}\n" for name in names), encoding="utf-8", newline="\n")
        write_logs(part / WARMUP_FILE, warmup_requests(base.name, network.resized_size))
        write_card(part, model_card(model, served, training or {}), class_names)
        expected = probes(model, base.name, network.resize, max_pixels, **inputs_and_outputs)
        verify_export(part, expected, *_TOLERANCES[precision])
        write_serving_config(base)
        _publish(part, target)
    return str(target)


def _save(module: ServingModule, version_dir: Path) -> None:
    signatures = module.trace()
    refuse_random_numbers(signatures.values())
    try:
        tf.saved_model.save(module, str(version_dir), signatures=signatures)
    except AssertionError as error:  # "Tried to export a function which references an 'untracked' resource"
        raise ValueError("model: found a tf.Variable or table that is not one of the model's weights") from error
    remove_devices(version_dir)


def verify_export(version_dir: Path, expected: list[PredictionLog], relative: float, absolute: float) -> None:
    """Loads an export in a fresh process, replays its warm-up requests and compares its outputs with `expected`.

    Args:
      version_dir: the export.
      expected: requests with outputs.
      relative, absolute: the allowed difference; see `verify.check`.

    Raises:
      ValueError: it cannot be loaded, a request fails, or an output differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        probes_file = Path(folder) / "probes"
        write_logs(probes_file, expected)
        # -P: no module of this package must be taken for one of Python's own.
        command = [sys.executable, "-P", verify.__file__, version_dir, relative, absolute]
        command += [version_dir / WARMUP_FILE, probes_file]
        # No GPU: this process may hold all of its memory.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if ran.returncode:
        lines = (ran.stdout.strip() or ran.stderr.strip() or f"exit code {ran.returncode}").splitlines()
        raise ValueError(f"export verification failed, nothing is published: {lines[-1]}")


def _serving_network(model: keras.Model, precision: str, preprocessing: Preprocessing, from_logits: bool) -> Network:
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}")
    if alexnet_input(model) is not None:
        return ServingNetwork(model, precision)
    if precision != "float32":
        raise ValueError(f"precision={precision!r}: supported for AlexNet only; expected 'float32' for {model.name}")
    return GenericNetwork(model, preprocessing, from_logits)


def _check_names(model: keras.Model, argument: str, names: Sequence[str]) -> None:
    classes = model.output_shape[-1]
    if len(names) != classes:
        raise ValueError(f"{argument}: found {len(names)}; expected {classes}, one per class of {model.name}")
    broken = [name for name in names if name.splitlines() != [name]]
    if broken:
        raise ValueError(f"{argument}: found {broken[0]!r}; expected names without line breaks, not empty")


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A new directory beside `target`, which is removed afterwards unless it was renamed.

    Raises:
      ValueError: it cannot be created, or writing into it fails.
    """
    base = target.parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_parts(base)
        # Not a number: TensorFlow Serving ignores it. In the same directory: renaming cannot cross file systems.
        part = base / f"part-{target.name}-{os.getpid()}-{secrets.token_hex(4)}"
        lock = _lock_of(part)
        with file_lock(lock):
            try:
                part.mkdir()
                yield part
            finally:
                shutil.rmtree(part, ignore_errors=True)
                # Windows removes no open files; the next export does.
                with contextlib.suppress(PermissionError):
                    lock.unlink(missing_ok=True)
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"export_base={base}: writing version {target.name} failed: {reason_of(error)}; "
            "expected a directory that can be written"
        ) from error


def _lock_of(part: Path) -> Path:
    return part.with_name(f".{part.name}.lock")


def _remove_parts(base: Path) -> None:
    """Removes what killed exports left behind; running ones hold their locks, on other machines too."""
    for part in base.glob("part-*"):
        with contextlib.suppress(FileLockedError, PermissionError), file_lock(_lock_of(part)):
            shutil.rmtree(part, ignore_errors=True)
            _lock_of(part).unlink(missing_ok=True)


def _next_version(base: Path) -> int:
    versions = [int(entry.name) for entry in base.iterdir() if entry.name.isdecimal()] if base.is_dir() else []
    return max(versions, default=0) + 1


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise ValueError(
            f"version={target.name}: found {target}; expected a version that does not exist yet "
            f"(the next free one is {_next_version(target.parent)})"
        )


def _publish(part: Path, target: Path) -> None:
    """Renames `part` to `target`; of two exporters at once, one gets the number and the other an error."""
    try:
        part.rename(target)
    except OSError:
        _refuse_existing(target)
        raise
