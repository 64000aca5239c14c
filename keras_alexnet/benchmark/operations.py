"""The operations that a function executes, with their times: TensorFlow's trace of a session."""

import logging
import math
import re
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

_FULL_TRACE = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE, output_partition_graphs=True)
# Operations that pass a variable on to where it is used.
_PASSING = ("Cast", "Enter", "ExpandDims", "Identity", "Merge", "ReadVariableOp", "Reshape", "StridedSlice", "Switch")
_FUNCTION = re.compile(r"__(inference|forward|backward)_+|_\d+$")


@dataclass(frozen=True)
class Operation:
    """An operation of the graph that TensorFlow has optimized.

    Attributes:
      layer: the layer that it belongs to; empty if its name does not say.
      kind: TensorFlow's name of the operation and of those that are fused with it; the name of a compiled function.
      seconds: its shortest time in all traced runs.
      flop: floating-point operations, of convolutions and matrix products only.
      bytes: sizes of its inputs and outputs together.
    """

    layer: str
    kind: str
    seconds: float
    flop: float
    bytes: int


def trace_operations(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: Mapping[str, np.ndarray],
    layers: Collection[str],
    runs: int = 5,
) -> tuple[list[Operation], float]:
    """Runs a function and traces its operations.

    It runs on one thread, so that the time of an operation is its processor time if no other program runs, and as
    TensorFlow Serving runs an export: from a SavedModel, in a session.

    Args:
      function: takes tensors with the names of `inputs`; returns tensors by name.
      inputs: name -> array.
      layers: names of layers.
      runs: traced runs, after two others. Each operation gets its shortest time.

    Returns:
      The operations, and the least processor time of a run in seconds.
    """
    v1 = tf.compat.v1
    config = v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True
    )
    traces, seconds = [], []
    # It recommends tf.saved_model.load, which traces nothing.
    tf.get_logger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        _save(function, inputs, folder)
        session = v1.Session(graph=tf.Graph(), config=config)
        with session.graph.as_default():
            signature = v1.saved_model.load(session, ["serve"], folder).signature_def["serving_default"]
    with session:
        fetched = [output.name for output in signature.outputs.values()]
        fed = {signature.inputs[name].name: values for name, values in inputs.items()}
        for _ in range(2):
            session.run(fetched, fed)
        for _ in range(runs):
            traces.append(v1.RunMetadata())
            started = time.process_time()
            session.run(fetched, fed, options=_FULL_TRACE, run_metadata=traces[-1])
            seconds.append(time.process_time() - started)
    return _operations(traces, layers), min(seconds)


def _save(function: Callable[..., dict[str, tf.Tensor]], inputs: Mapping[str, np.ndarray], folder: str) -> None:
    specs = {name: tf.TensorSpec(values.shape, values.dtype, name) for name, values in inputs.items()}
    traced = tf.function(function, autograph=False).get_concrete_function(**specs)
    module = tf.Module()
    module.function, module.captured = traced, list(traced.graph.variables)
    tf.saved_model.save(module, folder, signatures=traced)


def _operations(traces: Sequence[tf.compat.v1.RunMetadata], layers: Collection[str]) -> list[Operation]:
    """The operations of equal traces. An operation of a loop occurs once per iteration."""
    shortest: dict[tuple[str, int], int] = {}
    # By slot, because a switch has only one of its two outputs.
    shapes: dict[str, dict[int, tuple[tuple[int, ...], int]]] = {}
    for trace in traces:
        seen: dict[str, int] = {}
        for stats in (stats for device in trace.step_stats.dev_stats for stats in device.node_stats):
            name = stats.node_name
            key = name, seen.setdefault(name, 0)
            seen[name] += 1
            nanoseconds = stats.op_end_rel_nanos - stats.op_start_rel_nanos
            shortest[key] = min(nanoseconds, shortest.get(key, nanoseconds))
            shapes[name] = {output.slot: _shape_and_bytes(output.tensor_description) for output in stats.output}
    nodes = {node.name: node for graph in traces[0].partition_graphs for node in graph.node}
    graph = _Graph(nodes, shapes, layers)
    return [graph.operation(nodes[name], nanoseconds) for (name, _), nanoseconds in shortest.items() if name in nodes]


def _shape_and_bytes(tensor: Any) -> tuple[tuple[int, ...], int]:
    shape = tuple(max(dimension.size, 0) for dimension in tensor.shape.dim)
    # Of strings and handles only the reference counts.
    return shape, math.prod(shape) * max(tf.dtypes.as_dtype(tensor.dtype).size, 1)


class _Graph:
    """What was executed: nodes by name, and the shapes and bytes of their outputs."""

    def __init__(
        self,
        nodes: Mapping[str, tf.compat.v1.NodeDef],
        shapes: Mapping[str, Mapping[int, tuple[tuple[int, ...], int]]],
        layers: Collection[str],
    ):
        self._nodes, self._shapes, self._layers = nodes, shapes, layers

    def operation(self, node: tf.compat.v1.NodeDef, nanoseconds: int) -> Operation:
        inputs = [self._output(name) for name in node.input if not name.startswith("^")]
        outputs = list(self._shapes[node.name].values())
        flop = _flop(node, [shape for shape, _ in inputs], outputs[0][0] if outputs else ())
        transferred = sum(size for _, size in inputs) + sum(size for _, size in outputs)
        if not outputs:
            # An update reads and writes the variables that it gets.
            transferred += 2 * sum(self._variable_bytes(name) for name in node.input)
        # A convolution with bias and ReLU has the name of the ReLU; its kernel has the name of its layer.
        kernels = [self._layer(self._variable(name)) for name in node.input if flop]
        layer = next(filter(None, kernels), None) or self._layer(node.name)
        return Operation(layer, _kind(node), nanoseconds / 1e9, flop, transferred)

    def _output(self, name: str) -> tuple[tuple[int, ...], int]:
        producer, _, index = name.partition(":")
        return self._shapes.get(producer, {}).get(int(index or 0), ((), 0))

    def _variable(self, name: str) -> str:
        """The variable that an operation gets by an input of this name; empty if it gets none."""
        node = self._nodes.get(name.partition(":")[0])
        while node is not None and node.op in _PASSING:
            node = self._nodes.get(node.input[0].partition(":")[0])
        return node.name if node is not None and node.op == "VarHandleOp" else ""

    def _variable_bytes(self, name: str) -> int:
        variable = self._variable(name)
        if not variable:
            return 0
        attributes = self._nodes[variable].attr
        shape = [dimension.size for dimension in attributes["shape"].shape.dim]
        return math.prod(shape) * tf.dtypes.as_dtype(attributes["dtype"].type).size

    def _layer(self, name: str) -> str:
        """The layer in the path `name`; Keras appends a number to it for each call."""
        parts = [re.sub(r"(?<=.)_\d+$", "", part) for part in name.split("/")]
        return next((part for part in parts if part in self._layers), "")


def _flop(node: tf.compat.v1.NodeDef, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> float:
    """Twice the multiply-adds of a convolution, a matrix product, or their gradients; 0 for other operations."""
    kind = _plain_kind(node.op)
    if kind.startswith("Conv2DBackpropFilter"):
        return 2.0 * math.prod(inputs[2]) * math.prod(output[:-1])
    if kind.startswith("Conv2DBackpropInput"):
        return 2.0 * math.prod(inputs[2]) * math.prod(inputs[1][:-1])
    if kind in ("Conv2D", "FusedConv2D"):
        return 2.0 * math.prod(output) * math.prod(inputs[1][:-1])
    if kind in ("MatMul", "FusedMatMul", "BatchMatMul", "BatchMatMulV2", "FusedBatchMatMulV2"):
        is_transposed = node.attr["transpose_a"].b or node.attr["adj_x"].b
        return 2.0 * math.prod(output) * inputs[0][-2 if is_transposed else -1]
    return 0.0


def _plain_kind(kind: str) -> str:
    """Without what oneDNN's operations add to TensorFlow's names."""
    return re.sub(r"^_*(Mkl)?(Native)?", "", kind)


def _kind(node: tf.compat.v1.NodeDef) -> str:
    function = node.attr["f"].func.name
    if function:
        return "compiled " + _FUNCTION.sub("", _FUNCTION.sub("", function))
    fused = [name.decode() for name in node.attr["fused_ops"].list.s]
    return " + ".join([_plain_kind(node.op).removeprefix("Fused"), *fused])
