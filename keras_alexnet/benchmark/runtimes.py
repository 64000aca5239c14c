"""ONNX Runtime and OpenVINO on the exported network."""

import functools
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_alexnet.provenance import usable_cores
from keras_alexnet.saved_model.onnx import export_onnx
from serving.signatures import INPUT_IMAGES


def runtime_predictions(
    model: keras.Model, images: np.ndarray, crops: str, bfloat16: bool
) -> dict[str, Callable[[], object]]:
    """Probabilities of uint8 `[N, R, R, 3]` in the runtimes that are installed; none without tf2onnx.

    Args:
      crops: "ten" or "center".
      bfloat16: whether OpenVINO also runs in bfloat16.
    """
    if any(importlib.util.find_spec(name) is None for name in ("tf2onnx", "onnxruntime")):
        return {}
    # OpenVINO's usage statistics stay off.
    os.environ.setdefault("CI", "true")
    names = [str(index) for index in range(model.output_shape[-1])]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(export_onnx(model, Path(folder, "alexnet"), names, crops=crops), "model.onnx")
        contenders = {"ONNX Runtime": _onnx_runtime(file, images)}
        if importlib.util.find_spec("openvino") is not None:
            contenders["OpenVINO"] = _openvino(file, images, "f32")
            if bfloat16:
                contenders["OpenVINO, bfloat16"] = _openvino(file, images, "bf16")
    return contenders


def _onnx_runtime(file: Path, images: np.ndarray) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    # Waiting threads would count as processor time of the next contender.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {INPUT_IMAGES: images})[0]


def _openvino(file: Path, images: np.ndarray, precision: str) -> Callable[[], object]:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": usable_cores()}
    compiled = openvino_core().compile_model(str(file), "CPU", settings)
    return lambda: compiled({INPUT_IMAGES: images})[0]


@functools.cache
def openvino_core() -> Any:
    """The only `openvino.Core` of this process.

    OpenVINO's CPU plugin replaces the signal stack of the thread that loads it. With a second `Core`, the memory of the
    stack may be freed while signal handlers still use it: the next signal ends the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()
