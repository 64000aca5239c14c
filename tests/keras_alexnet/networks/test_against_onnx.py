"""GoogLeNet against the graph in the onnx package, whose weights are replaced by random ones.

Its pooling rounds down, ours up. With 253 pixels all windows fit, and the maps before the average have 7 pixels.
"""

from pathlib import Path

import numpy as np
import pytest

from keras_alexnet import networks

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow

SIZE = 253
BRANCHES = {"1x1": 1, "3x3_reduce": 2, "3x3": 2, "5x5_reduce": 3, "5x5": 3, "pool_proj": 4}


def keras_name(name: str) -> str:
    """From Caffe's name, such as inception_3a/5x5_reduce, to ours."""
    if not name.startswith("inception"):
        return {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2_reduce", "conv2/3x3": "conv2"}.get(name, "fc")
    module, _, part = name.partition("/")
    return f"{module}_branch{BRANCHES[part]}_{1 if part.endswith('reduce') or part == '1x1' else 2}_conv"


def with_weights(graph, weights):
    """The graph with these weights instead of constants, for images of SIZE pixels and without end padding."""
    constants = [node for node in graph.node if node.op_type == "ConstantOfShape" and node.output[0] in weights]
    for node in constants:
        graph.node.remove(node)
    for initializer in [value for value in graph.initializer if value.name in weights]:
        graph.initializer.remove(initializer)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    for value in graph.input:
        if len(value.type.tensor_type.shape.dim) == 4 and value.type.tensor_type.shape.dim[1].dim_value == 3:
            for dimension in value.type.tensor_type.shape.dim[2:]:
                dimension.dim_value = SIZE
    (average,) = [node for node in graph.node if node.op_type == "AveragePool"]
    (pads,) = [attribute for attribute in average.attribute if attribute.name == "pads"]
    pads.ints[:] = [0, 0, 0, 0]
    return graph


def test_googlenet_gives_the_logits_of_the_graph_in_onnx():
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    proto = onnx.load(folder / "light_inception_v1.onnx")
    # The published initialization: inputs of the normalization are so large that it matters.
    model = networks.create("googlenet", 1000, SIZE, classifier_activation=None)
    random, weights = np.random.default_rng(0), {}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        name = node.input[2].removesuffix("_b_0")
        layer = model.get_layer(keras_name(name))
        kernel, bias = layer.get_weights()
        bias = random.normal(0, 0.1, bias.shape).astype(np.float32)
        layer.set_weights([kernel, bias])
        weights[f"{name}_w_0"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T)
        weights[f"{name}_b_0"] = bias
    assert len(weights) == 2 * 58
    # The classifier's weights pass through a Reshape; the graph's last output but one is the logits.
    with_weights(proto.graph, weights)
    (gemm,) = [node for node in proto.graph.node if node.op_type == "Gemm"]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(gemm.output[0], onnx.TensorProto.FLOAT, None))
    images = random.uniform(0, 255, (1, SIZE, SIZE, 3)).astype(np.float32)
    inputs = model.get_layer("preprocessing")(images).numpy().transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (data,) = [value.name for value in session.get_inputs() if len(value.shape) == 4]
    (expected,) = session.run([gemm.output[0]], {data: np.ascontiguousarray(inputs)})
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert expected.std() > 0.01
