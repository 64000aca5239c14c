"""What a graph must not contain to be served anywhere: random numbers and device names."""

import re
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

_RANDOM = re.compile(
    r"(Stateless|Parameterized)?(Random|TruncatedNormal|Multinomial)|Stateful(Uniform|StandardNormal|Truncated|Random)"
)


def refuse_random_numbers(functions: Iterable[tf.types.experimental.ConcreteFunction]) -> None:
    """Raises ValueError if functions draw random numbers, so that predictions would not be repeatable."""
    for function in functions:
        graph = function.graph.as_graph_def()
        for nodes in (graph.node, *(part.node_def for part in graph.library.function)):
            for node in nodes:
                if _RANDOM.match(node.op):
                    raise ValueError(f"model: {node.name} draws random numbers ({node.op}) at inference")


def remove_devices(directory: Path) -> None:
    """Removes the device names from the SavedModel in `directory`, because a server may have other devices."""
    path = directory / tf.saved_model.SAVED_MODEL_FILENAME_PB
    saved = SavedModel.FromString(path.read_bytes())
    found = False
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        # TensorFlow's own functions that save and restore name the CPU, which every server has.
        functions = [part for part in graph.library.function if "__traced_" not in part.signature.name]
        for nodes in (graph.node, *(part.node_def for part in functions)):
            for node in nodes:
                found |= bool(node.device)
                node.device = ""
    if found:
        path.write_bytes(saved.SerializeToString(deterministic=True))
