"""What TensorFlow made of a traced step: which operation runs where, and what crosses between devices."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.eager import context

_LAYER = re.compile(r"(?:^|/)(mean_subtraction|predictions|(?:conv|relu|lrn|pool|fc|dropout)\d)_\d+/")
_HEAVY = ("Conv2D", "MatMul", "LRN", "MaxPool", "Relu")


def partition_graphs(step: Callable[[], object]) -> list[tf.compat.v1.GraphDef]:
    """One graph a device, of all functions that `step` runs for the first time."""
    # Fused operations would bear the name of one of them.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    context.context().enable_graph_collection()
    step()
    metadata = context.context().export_run_metadata()
    context.context().disable_graph_collection()
    return [graph for function in metadata.function_graphs for graph in function.partition_graphs]


def device(graph_or_node) -> str:
    node = graph_or_node.node[0] if hasattr(graph_or_node, "node") else graph_or_node
    return node.device.rsplit("device:", 1)[1]


def heavy_operations(graphs: Sequence) -> dict[str, dict[str, int]]:
    """Device -> layer, with "gradient of" before it in the backward pass -> how many operations that take time."""
    found: dict[str, Counter] = {}
    for graph in graphs:
        for node in graph.node:
            layer = _LAYER.search(node.name)
            if layer and any(kind in node.op for kind in _HEAVY):
                what = ("gradient of " if "gradient_tape" in node.name else "") + layer[1]
                found.setdefault(device(node), Counter())[what] += 1
    return {name: dict(counts) for name, counts in found.items()}


def crossings(graphs: Sequence) -> dict[str, list[str]]:
    """ "CPU:0>CPU:1" -> what crosses there: kind and layer, or the name of what is of no known kind."""
    found: dict[str, list[str]] = {}
    for graph in graphs:
        consumers: dict[str, list[str]] = {}
        for node in graph.node:
            for name in node.input:
                consumers.setdefault(name.split(":")[0].lstrip("^"), []).append(node.name)
        for node in graph.node:
            if node.op in ("_Recv", "_HostRecv"):
                source = node.attr["send_device"].s.decode().rsplit("device:", 1)[1]
                kind = _kind(node.attr["tensor_name"].s.decode(), consumers.get(node.name, []), node)
                found.setdefault(f"{source}>{device(node)}", []).append(kind)
    return {way: sorted(kinds) for way, kinds in found.items()}


def _kind(producer: str, consumers: list[str], node) -> str:
    made, used = _LAYER.search(producer), [_LAYER.search(name) for name in consumers]
    used = [match for match in used if match]
    dtype = tf.as_dtype(node.attr["tensor_type"].type)
    if re.search(r"pivot|GroupCrossDeviceControlEdges|Assign\w*VariableOp|NoOp$", producer):
        return "control"
    if "/update_" in producer and "ReadVariableOp" in producer:
        return "rate"
    if not dtype.is_floating:
        return "seed" if used and used[0][1].startswith("dropout") else f"not float: {dtype.name}"
    if "gradient_tape" in producer and made:
        return f"gradient of {made[1]}"
    if made and used:
        return f"image into {used[0][1]}" if made[1] == "mean_subtraction" else f"activations into {used[0][1]}"
    return f"other: {producer}"
