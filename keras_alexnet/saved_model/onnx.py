"""`export_onnx`: a network on resized images as an ONNX file in a Triton model repository."""

import contextlib
import dataclasses
import fnmatch
import importlib.util
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.classifier import alexnet_input
from keras_alexnet.layers.nested import all_layers
from keras_alexnet.pretrained import network_probabilities
from keras_alexnet.saved_model.arguments import resolve_network
from keras_alexnet.saved_model.serving_network import copy_of
from keras_alexnet.saved_model.versions import new_version, part_of, publish
from keras_alexnet.ten_crop import Preprocessing
from pipelines.choices import CROPS
from pipelines.cli.regular_files import read_text
from serving.signatures import INPUT_IMAGES, OUTPUT_PROBABILITIES

# The newest that Triton's, OpenVINO's and ONNX Runtime's releases of the last two years read.
_OPSET = 18
# Of probabilities, between the file in ONNX Runtime and the Keras model.
TOLERANCE = 1e-4
_BATCH = 32
_HALF_PRECISION = ("float16", "bfloat16")


def export_onnx(
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
    crops: str = "ten",
) -> str:
    """Writes `<export_base>/<version>/model.onnx` and, beside the versions, Triton's `config.pbtxt` and `labels.txt`.

    The parent of `export_base` is a Triton model repository. The graph reads `images`, uint8 `[N, R, R, 3]`, RGB,
    resized as for the signature `images` of `export_model`, and returns `probabilities`, float32 `[N, classes]`.
    Cropping, preprocessing and the mean over the crops are in the graph. The file's metadata contain "class_names" and
    "labels" as JSON lists, "crops" and "resize".

    Args:
      model, class_names, version, preprocessing, from_logits, image_size, resize, resize_size, labels: as in
        `export_model`.
      export_base: directory of the model's versions; its name is the model's name in Triton.
      crops: "ten" or "center".

    Returns:
      The path of the new version.

    Raises:
      ValueError: as in `export_model`; tf2onnx or onnxruntime is missing; the model contains an operation that ONNX
        lacks; or an earlier version in `export_base` has other labels, image sizes or crops, which Triton describes
        once for all versions.

    Example:

    ```python
    export_onnx(AlexNet(classes=2, weights="mine.weights.h5"), "triton/alexnet", ["cat", "dog"])
    ```
    """
    missing = [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"an ONNX file needs {missing[0]}: pip install 'keras-alexnet[onnx]'")
    if crops not in CROPS:
        raise ValueError(f"crops={crops!r}: expected {' or '.join(map(repr, CROPS))}")
    network = resolve_network(
        model,
        class_names,
        preprocessing=preprocessing,
        from_logits=from_logits,
        image_size=image_size,
        resize=resize,
        resize_size=resize_size,
        labels=labels,
    )
    target, size = new_version(export_base, version), network.resized_size
    files = _triton_files(target.parent, size, network.display_names, crops)
    _check_triton_files(target.parent, files)
    # A copy without the placement of its training.
    if alexnet_input(network.model) is not None:
        network = dataclasses.replace(network, model=copy_of(network.model, "float32"))
    probabilities = network_probabilities(network, crops)

    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT_PROBABILITIES: probabilities(images)}

    metadata = {
        "class_names": json.dumps(network.class_names, ensure_ascii=False),
        "labels": json.dumps(network.display_names, ensure_ascii=False),
        "crops": crops,
        "resize": network.resize,
    }
    with _in_float32(network.model), part_of(target) as part:
        file = part / "model.onnx"
        _convert(predict, size, file, metadata)
        images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
        # A graph, because outside one Keras keeps the outputs of all layers.
        expected = tf.function(predict)(tf.constant(images))[OUTPUT_PROBABILITIES].numpy()
        _check_predictions(file, images, expected)
        for name, text in files.items():
            # An existing one is the user's.
            with contextlib.suppress(FileExistsError), open(target.parent / name, "x", encoding="utf-8") as opened:
                opened.write(text)
        publish(part, target)
    return str(target)


def _convert(predict: Callable[..., dict[str, tf.Tensor]], size: int, file: Path, metadata: dict[str, str]) -> None:
    import onnx
    import tf2onnx

    spec = [tf.TensorSpec([None, size, size, 3], tf.uint8, INPUT_IMAGES)]
    function = tf.function(predict, input_signature=spec, autograph=False, jit_compile=False)
    # tf2onnx prints progress, and NumPy warns of a name that it uses.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            converted, _ = tf2onnx.convert.from_function(function, spec, opset=_OPSET)
        # tf2onnx raises what its handlers of operations happen to raise.
        except Exception as error:
            raise ValueError(f"model: cannot be converted to ONNX: {error}") from error
    _store_captured(converted.graph, function.get_concrete_function())
    _replace_erfc(converted.graph)
    onnx.helper.set_model_props(converted, metadata)
    onnx.save_model(converted, str(file))


def _check_predictions(file: Path, images: np.ndarray, expected: np.ndarray) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        (found,) = session.run([OUTPUT_PROBABILITIES], {INPUT_IMAGES: images})
    # ONNX Runtime's errors have no common class but Exception.
    except Exception as error:
        raise ValueError(f"export verification failed, nothing is published: ONNX Runtime: {error}") from error
    largest = float(np.abs(found - expected).max())
    if not largest <= TOLERANCE:
        raise ValueError(
            "export verification failed, nothing is published: probabilities in ONNX Runtime differ from the Keras "
            f"model's by {largest:.3g}; expected at most {TOLERANCE:g}"
        )


@contextlib.contextmanager
def _in_float32(model: keras.Model) -> Iterator[None]:
    """`model` computes in float32 meanwhile. Its layers are changed: not every model can be copied.

    Raises:
      ValueError: a layer has weights of float16 or bfloat16, or is quantized.
    """
    policies = {
        layer: layer.dtype_policy for layer in (model, *all_layers(model)) if layer.compute_dtype in _HALF_PRECISION
    }
    for layer, policy in policies.items():
        has_half = any(weight.dtype in _HALF_PRECISION for weight in layer.weights)
        if has_half or type(policy) is not keras.DTypePolicy:
            raise ValueError(
                f"model: {layer.name} has the dtype policy {policy.name}; "
                "expected float32, mixed_float16 or mixed_bfloat16"
            )
    try:
        for layer in policies:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in policies.items():
            layer.dtype_policy = policy


def _store_captured(graph: Any, function: Any) -> None:
    """Stores tensors that `function` captured, such as positions of a transformer, which tf2onnx makes inputs."""
    import onnx

    inputs = {value.name for value in graph.input} - {INPUT_IMAGES}
    stored = {tensor.name for tensor in graph.initializer}
    for value, placeholder in function.graph.captures:
        if placeholder.name in inputs - stored:
            graph.initializer.append(onnx.numpy_helper.from_array(value.numpy(), placeholder.name))
    for value in [value for value in graph.input if value.name in inputs]:
        graph.input.remove(value)


def _replace_erfc(graph: Any) -> None:
    """Replaces Erfc(x), of which ONNX has no operation, by 1 - Erf(x). Keras' exact GELU has it."""
    import onnx

    if not any(node.op_type == "Erfc" for node in graph.node):
        return
    nodes = []
    for node in graph.node:
        if node.op_type == "Erfc":
            erf = f"{node.output[0]}_erf"
            nodes.append(onnx.helper.make_node("Erf", node.input, [erf]))
            nodes.append(onnx.helper.make_node("Sub", ["erfc_one", erf], node.output))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "erfc_one"))


def _triton_files(base: Path, size: int, labels: Sequence[str], crops: str) -> dict[str, str]:
    """Triton's description of the model, by file name."""
    config = f"""name: "{base.resolve().name}"
backend: "onnxruntime"
max_batch_size: {_BATCH}
input [
  {{ name: "{INPUT_IMAGES}" data_type: TYPE_UINT8 dims: [{size}, {size}, 3] }}
]
output [
  {{ name: "{OUTPUT_PROBABILITIES}" data_type: TYPE_FP32 dims: [{len(labels)}] label_filename: "labels.txt" }}
]
parameters {{ key: "crops" value {{ string_value: "{crops}" }} }}
dynamic_batching {{ }}
"""
    return {"labels.txt": "".join(f"{label}\n" for label in labels), "config.pbtxt": config}


def _check_triton_files(base: Path, files: Mapping[str, str]) -> None:
    """Raises ValueError if existing files describe another model. Of config.pbtxt the rest belongs to the user."""
    labels = base / "labels.txt"
    if labels.exists() and read_text(labels) != files["labels.txt"]:
        raise ValueError(f"export_base={base}: {labels} has other labels than this model; expected another directory")
    config = base / "config.pbtxt"
    if not config.exists():
        return
    for name, pattern in (
        ("dims", r"dims:?\s*\[([^\]]*)\]"),
        ("crops", r'"crops"\s*value:?\s*{\s*string_value:\s*"(\w+)"'),
    ):
        found, expected = (
            [re.sub(r"\s", "", text) for text in re.findall(pattern, of)]
            for of in (re.sub("#.*", "", read_text(config)), files[config.name])
        )
        # Versions before this one wrote no crops. Users add warm-up requests, which repeat dims; -1 is any size.
        if not all(fnmatch.filter(expected, text.replace("-1", "*")) for text in found):
            raise ValueError(
                f"export_base={base}: {config} has {name} {' and '.join(found)}, this model {' and '.join(expected)}; "
                "expected another directory"
            )
