"""Classify, Regress and MultiInference: inference on tf.Example messages.

The signatures of an exported AlexNet take photographs, not tf.Example messages, and refuse these methods; a
SavedModel with a signature shaped for Classify is answered. Checks, order and status codes are those of TensorFlow
Serving with --enable_signature_method_name_check=false, its default
(tensorflow_serving/servables/tensorflow/{classifier,regressor,multi_inference,util}.cc).
"""

from collections.abc import Callable

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse, RegressionResult

from serving.batching import Tensors
from serving.request_errors import RequestError
from serving.servable import Servable, signature_name

_INPUT = tf.saved_model.CLASSIFY_INPUTS  # "inputs", of classification and regression alike
_CLASSES, _SCORES = tf.saved_model.CLASSIFY_OUTPUT_CLASSES, tf.saved_model.CLASSIFY_OUTPUT_SCORES
_VALUES = tf.saved_model.REGRESS_OUTPUTS
_INVALID, _PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


def classify(servable: Servable, request: ClassificationRequest) -> ClassificationResponse:
    """Answers Classify.

    Raises:
        RequestError: no such signature, a signature of another shape, no example, or the graph failed.
    """
    name, signature = _signature(servable, signature_name(request.model_spec))
    _check_classification(signature)
    outputs, rows = _run(servable, name, request.input)
    return ClassificationResponse(
        result=_classification(outputs, rows), model_spec=servable.spec(request.model_spec.name, name)
    )


def regress(servable: Servable, request: RegressionRequest) -> RegressionResponse:
    """Answers Regress.

    Raises:
        RequestError: as for `classify`.
    """
    name, signature = _signature(servable, signature_name(request.model_spec))
    _check_regression(signature)
    outputs, rows = _run(servable, name, request.input)
    return RegressionResponse(
        result=_regression(outputs, rows), model_spec=servable.spec(request.model_spec.name, name)
    )


def multi_inference(servable: Servable, request: MultiInferenceRequest) -> MultiInferenceResponse:
    """Answers MultiInference: Classify and Regress of several signatures on the same examples.

    Raises:
        RequestError: as for `classify`; also for tasks of several models, for a signature asked for twice, and
            (UNIMPLEMENTED) for a method that is neither.
    """
    names: set[str] = set()
    checks: dict[str, tuple[Callable, Callable]] = {
        tf.saved_model.CLASSIFY_METHOD_NAME: (_check_classification, _classification),
        tf.saved_model.REGRESS_METHOD_NAME: (_check_regression, _regression),
    }
    for task in request.tasks:
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise RequestError(_INVALID, "All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name, signature = _signature(servable, signature_name(task.model_spec))
        if name in names:
            raise RequestError(_INVALID, f"Duplicate evaluation of signature: {name}")
        names.add(name)
        if task.method_name not in checks:
            raise RequestError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        checks[task.method_name][0](signature)
    response = MultiInferenceResponse()
    for task in request.tasks:
        name = signature_name(task.model_spec)
        result = checks[task.method_name][1](*_run(servable, name, request.input))
        inference = response.results.add(model_spec=servable.spec(task.model_spec.name, name))
        if isinstance(result, ClassificationResult):
            inference.classification_result.CopyFrom(result)
        else:
            inference.regression_result.CopyFrom(result)
    return response


def _signature(servable: Servable, name: str) -> tuple[str, SignatureDef]:
    if name not in servable.callable_signatures:
        raise RequestError(_INVALID, f"No signature was found with the name: {name}")
    return name, servable.signature_defs[name]


def _check_input(signature: SignatureDef, kind: str) -> None:
    if len(signature.inputs) != 1:
        raise RequestError(_INVALID, "Expected one input Tensor.")
    if _INPUT not in signature.inputs:
        raise RequestError(
            _PRECONDITION,
            f"No {kind} inputs found in SignatureDef: expected {_INPUT!r}, found {sorted(signature.inputs)}; "
            "Predict is the method of this signature",
        )


def _check_classification(signature: SignatureDef) -> None:
    if len(signature.inputs) == 1 and len(signature.outputs) not in (1, 2):
        raise RequestError(_INVALID, f"Expected one or two output Tensors, found {len(signature.outputs)}")
    _check_input(signature, "classification")
    if not {_CLASSES, _SCORES} & set(signature.outputs):
        raise RequestError(
            _PRECONDITION,
            f"Expected classification signature outputs to contain at least one of {_CLASSES!r} or {_SCORES!r}",
        )


def _check_regression(signature: SignatureDef) -> None:
    if len(signature.inputs) == 1 and len(signature.outputs) != 1:
        raise RequestError(_INVALID, "Expected one output Tensor.")
    _check_input(signature, "regression")
    if _VALUES not in signature.outputs:
        raise RequestError(_PRECONDITION, f"No regression outputs found in SignatureDef: expected {_VALUES!r}")


def _run(servable: Servable, name: str, examples: Input) -> tuple[Tensors, int]:
    """The outputs for `examples`, and how many these are."""
    kind = examples.WhichOneof("kind")
    listed = list(getattr(examples, kind).examples) if kind else []
    if kind == "example_list_with_context":
        context = examples.example_list_with_context.context
        for example in listed:
            example.MergeFrom(context)
    if not listed:
        raise RequestError(_INVALID, "Input is empty")
    serialized = tf.constant([example.SerializeToString() for example in listed])
    return servable.run(name, {_INPUT: serialized}), len(listed)


def _classification(outputs: Tensors, rows: int) -> ClassificationResult:
    named = {name: outputs[name] for name in (_CLASSES, _SCORES) if name in outputs}
    arrays = {}
    for name, dtype in ((_CLASSES, tf.string), (_SCORES, tf.float32)):
        if name in named:
            arrays[name] = _checked(name, named[name], dtype, rows, rank=2)
    result = ClassificationResult()
    width = next(iter(arrays.values())).shape[1]
    if any(array.shape[1] != width for array in arrays.values()):
        raise RequestError(_INVALID, "Tensors class and score should match in dim_size(1)")
    for row in range(rows):
        classes = result.classifications.add().classes
        for column in range(width):
            entry = classes.add()
            if _CLASSES in arrays:
                entry.label = arrays[_CLASSES][row, column].decode(errors="replace")
            if _SCORES in arrays:
                entry.score = arrays[_SCORES][row, column]
    return result


def _regression(outputs: Tensors, rows: int) -> RegressionResult:
    values = outputs[_VALUES]
    rank = 1 if values.shape.rank == 1 else 2
    flat = _checked(_VALUES, values, tf.float32, rows, rank).ravel()
    if len(flat) != rows:
        raise RequestError(_INVALID, f"Expected output batch size of {rows}. Got: {len(flat)}")
    result = RegressionResult()
    for value in flat:
        result.regressions.add(value=value)
    return result


def _checked(name: str, tensor: tf.Tensor, dtype: tf.DType, rows: int, rank: int) -> np.ndarray:
    if tensor.shape.rank != rank:
        raise RequestError(_INVALID, f"Expected Tensor shape: [batch_size num_classes] but got {tensor.shape}")
    if tensor.dtype != dtype:
        raise RequestError(_INVALID, f"Expected {name} Tensor of {dtype.name}. Got: {tensor.dtype.name}")
    if tensor.shape[0] != rows:
        raise RequestError(_INVALID, f"Expected {name} output batch size of {rows}. Got: {tensor.shape[0]}")
    return tensor.numpy()
