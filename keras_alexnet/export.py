"""Command: exports a trained network as a SavedModel that TensorFlow Serving can serve.

    python -m keras_alexnet.export --model_dir=build/photos --export_base=build/export/alexnet

The folder appears as `<export_base>/<version>/` by one rename, complete, and is never overwritten. Before that it is
loaded in a fresh process, as TensorFlow Serving loads it, and its answers are compared with the Keras model's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import flags
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_alexnet.pretrained import define_network_flags, open_network
from keras_alexnet.saved_model import verify as export_check
from keras_alexnet.saved_model.files import model_card, training_record, write_card, write_serving_config
from keras_alexnet.saved_model.module import ServingModule, check_names
from keras_alexnet.saved_model.serving_network import PRECISIONS
from keras_alexnet.saved_model.warmup import WARMUP_FILE, probes, warmup_requests, write_logs
from pipelines.cli import reason_of, run
from pipelines.images import decode
from serving.signatures import CLASS_NAMES_ASSET, LABELS_ASSET, TOP_K

# How far answers may be from the Keras model's: float32 differs in the order of additions, bfloat16 has 8 bits.
_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.2}


def define_flags() -> None:
    """Flags of this command."""
    define_network_flags()
    flags.DEFINE_string(
        "export_base", None, "folder of the model's versions, as TensorFlow Serving wants it", required=True
    )
    flags.DEFINE_integer("version", None, "number of the new version; the next free one if not set", lower_bound=1)
    flags.DEFINE_enum(
        "precision", "float32", PRECISIONS, "bfloat16: half the size, and faster where the processor computes in it"
    )
    flags.DEFINE_integer("top_k", TOP_K, "how many classes an answer names", lower_bound=1)
    flags.DEFINE_integer("max_pixels", decode.MAX_PIXELS, "larger images are answered as bad ones", lower_bound=1)


def export_model(
    model: keras.Model,
    export_base: str | os.PathLike,
    class_names: Sequence[str],
    version: int | None = None,
    *,
    labels: Sequence[str] | None = None,
    precision: str = "float32",
    top_k: int = TOP_K,
    max_pixels: int = decode.MAX_PIXELS,
    training: Mapping[str, Any] | None = None,
) -> str:
    """Writes `<export_base>/<version>/` with the signatures of `serving.signatures`.

    Beside the versions it writes `batching_params.pbtxt` and `models.config` for TensorFlow Serving, unless there are.

    Args:
      model: an `AlexNet`, giving logits or probabilities, on any placement; it is left as it is.
      export_base: folder of the model's versions; made if it does not exist.
      class_names: one a class, without line breaks.
      version: 1 or more; one above the highest there is by default.
      labels: what answers call the classes; the class names if None.
      precision: "float32", or "bfloat16" for weights and most of the arithmetic.
      top_k: how many classes an answer names; all of them if there are fewer.
      max_pixels: larger images are answered as those that cannot be decoded.
      training: what the model card says of the training, as JSON can hold it.

    Returns:
      The path of the new folder.

    Raises:
      ValueError: if the version exists, the names do not fit the model, the folder cannot be written, or the export
        does not answer as the model does. Nothing is left behind then.
    """
    base = Path(export_base)
    target = base / str(_next_version(base) if version is None else version)
    _refuse_existing(target)
    check_names(model, "class_names", class_names)
    labels = class_names if labels is None else labels
    module = ServingModule(model, labels, precision, top_k, max_pixels)
    served = {"precision": precision, "top_k": module.top_k, "max_pixels": max_pixels, "resize": module.resize}
    with _part_of(target) as part:
        tf.saved_model.save(module, str(part), signatures=module.trace())
        (part / "assets").mkdir(exist_ok=True)
        for asset, names in ((CLASS_NAMES_ASSET, class_names), (LABELS_ASSET, labels)):
            (part / "assets" / asset).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        write_logs(part / WARMUP_FILE, warmup_requests(base.name))
        write_card(part, model_card(model, served, training or {}))
        _check(part, probes(model, base.name, module.resize, max_pixels), _TOLERANCES[precision])
        write_serving_config(base)
        _publish(part, target)
    return str(target)


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, which is gone afterwards unless it was renamed.

    Raises:
      ValueError: if there cannot be one, or writing into it fails.
    """
    base = target.parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        # No number: TensorFlow Serving looks past it. In the same folder: renaming cannot cross file systems.
        part = Path(tempfile.mkdtemp(prefix=f"part-{target.name}-", dir=base))
        os.chmod(part, 0o755)
    except OSError as error:
        raise ValueError(f"export_base={base}: {reason_of(error)}; expected a folder that can be written") from error
    try:
        yield part
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"export_base={base}: writing version {target.name} failed: {reason_of(error)}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(part: Path, questions: list[PredictionLog], tolerance: float) -> None:
    """Replays the warm-up requests of `part` in a fresh process, and compares its answers to `questions`.

    Raises:
      ValueError: if it cannot be loaded, a request fails, or an answer differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        expected = Path(folder) / "probes"
        write_logs(expected, questions)
        # -P: no module of this package must be taken for one of Python's own.
        command = [sys.executable, "-P", export_check.__file__, part, tolerance, part / WARMUP_FILE, expected]
        # No GPU: this process may hold all of its memory.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if ran.returncode:
        said = (ran.stdout.strip() or ran.stderr.strip() or f"exit code {ran.returncode}").splitlines()[-1]
        raise ValueError(f"the export was loaded again and found wrong, nothing is published: {said}")


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
        os.rename(part, target)
    except OSError:
        _refuse_existing(target)
        raise


def main(argv: list[str]) -> None:
    """Exports, and says where and how large."""
    options = flags.FLAGS
    model, description, steps = open_network(options)
    record = (
        training_record(options.model_dir, description, steps) if options.model_dir else {"weights": options.weights}
    )
    path = export_model(
        model,
        options.export_base,
        description.class_names,
        options.version,
        labels=description.labels(),
        precision=options.precision,
        top_k=options.top_k,
        max_pixels=options.max_pixels,
        training=record,
    )
    origin = f"{options.model_dir} (step {steps})" if options.model_dir else options.weights
    size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    parameters = sum(file.stat().st_size for file in (Path(path) / "variables").iterdir())
    print(
        f"exported {origin} to {path}: {size / 1e6:.1f} MB, of which parameters "
        f"{parameters / 1e6:.1f} MB, each once; loaded again and found to answer as the Keras model"
    )


if __name__ == "__main__":
    run(main, define_flags)
