"""`export_model`: writes a version of a model for TensorFlow Serving, verifies it and publishes it by one rename."""

import numbers
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_alexnet.saved_model import verify
from keras_alexnet.saved_model.arguments import resolve_network
from keras_alexnet.saved_model.files import model_card, write_card, write_serving_config
from keras_alexnet.saved_model.graph import refuse_random_numbers, remove_devices
from keras_alexnet.saved_model.module import ServableNetwork, ServingModule
from keras_alexnet.saved_model.served_signatures import serving_network
from keras_alexnet.saved_model.versions import new_version, part_of, publish
from keras_alexnet.saved_model.warmup import WARMUP_FILE, probes, warmup_requests, write_logs
from keras_alexnet.ten_crop import Preprocessing
from pipelines.choices import MAX_PIXELS
from pipelines.cli.literal_path import literal_path
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
    resize: str | None = None,
    resize_size: int | None = None,
    labels: Sequence[str] | None = None,
    precision: str = "float32",
    top_k: int = TOP_K,
    max_pixels: int = MAX_PIXELS,
    training: Mapping[str, Any] | None = None,
) -> str:
    """Writes `<export_base>/<version>/`, a SavedModel with the signatures of `serving.signatures`.

    A fresh process loads it as TensorFlow Serving does, and its predictions are compared with those of `model`. Only
    then is it published, by one rename. `batching_params.pbtxt` and `models.config` for TensorFlow Serving are written
    next to the versions unless they exist.

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
      resize: how images are resized, one of `pipelines.choices.RESIZE_POLICIES`; an `AlexNet` contains it. By default
        that of the network of the registry with the model's name, else "shorter_side".
      resize_size: R, the side in pixels that images are resized to before they are cropped, at least S: that of
        training. By default 256 for an `AlexNet`, that of a network of the registry, else S / 0.875.
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
    export_model(mobilenet, "export/mobilenet", imagenet_wnids(), preprocessing="tf", from_logits=False)
    ```
    """
    network = resolve_network(
        model,
        class_names,
        preprocessing=preprocessing,
        from_logits=from_logits,
        image_size=image_size,
        resize=resize,
        resize_size=resize_size,
        labels=labels,
        training=training,
    )
    if not isinstance(top_k, numbers.Integral) or isinstance(top_k, bool) or top_k < 1:
        raise ValueError(f"top_k={top_k!r}: expected an integer from 1")
    target = new_version(export_base, version)
    write_version(
        target,
        serving_network(network, precision),
        network.class_names,
        network.display_names,
        lambda served: model_card(network.model, served, network.training),
        lambda: probes(network, target.parent.name, max_pixels),
        precision=precision,
        top_k=top_k,
        max_pixels=max_pixels,
    )
    return str(target)


def write_version(
    target: Path,
    network: ServableNetwork,
    class_names: Sequence[str],
    labels: Sequence[str],
    card: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    expected: Callable[[], list[PredictionLog]],
    *,
    precision: str,
    top_k: int,
    max_pixels: int,
) -> None:
    """Writes a version, verifies it and publishes it; see `export_model` for what is not described here.

    Args:
      target: `<export_base>/<version>`, which does not exist.
      network: what is served.
      class_names, labels: one per class.
      card: makes the model card from the options of the export.
      expected: makes the requests with the predictions of the Keras model; called after the version has been written.
      precision, top_k, max_pixels: as for `export_model`.
    """
    module = ServingModule(network, labels, top_k, max_pixels)
    served = {"precision": precision, "top_k": module.top_k, "max_pixels": max_pixels, "resize": network.resize}
    base = target.parent
    with part_of(target) as part:
        _save(module, part)
        (part / "assets").mkdir(exist_ok=True)
        for asset, names in ((CLASS_NAMES_ASSET, class_names), (LABELS_ASSET, labels)):
            (part / "assets" / asset).write_text("".join(f"{name}\n" for name in names), encoding="utf-8", newline="\n")
        write_logs(part / WARMUP_FILE, warmup_requests(base.name, network.resized_size))
        write_card(part, card(served), class_names)
        verify_export(part, expected(), *_TOLERANCES[precision])
        write_serving_config(base)
        publish(part, target)


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
    with tempfile.TemporaryDirectory() as folder, literal_path(version_dir) as literal:
        probes_file = Path(folder) / "probes"
        write_logs(probes_file, expected)
        # -P: no module of this package must be taken for one of Python's own.
        command = [sys.executable, "-P", verify.__file__, literal, relative, absolute]
        command += [version_dir / WARMUP_FILE, probes_file]
        # No GPU: this process may hold all of its memory.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if ran.returncode:
        lines = (ran.stdout.strip() or ran.stderr.strip() or f"exit code {ran.returncode}").splitlines()
        raise ValueError(f"export verification failed, nothing is published: {lines[-1]}")
