import math

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import export_model
from keras_alexnet.checkpoints import load_trained
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.evaluation import Evaluator
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.input import evaluation_batches
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium

MATH = {"Conv2D", "MatMul", "BiasAdd", "MaxPool", "Relu"}


def same_weights(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_the_precision_asked_for_and_norms_in_float32(trained, precision):
    model = RunDirectory(trained).build_model(precision)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    graph = tf.function(lambda images: model(images, training=True)).get_concrete_function(
        tf.TensorSpec([2, 224, 224, 3])
    )
    types = {}
    for operation in graph.graph.get_operations():
        types.setdefault(operation.type, set()).update(output.dtype.name for output in operation.outputs)
    assert {kind: types[kind] for kind in MATH} == {kind: {precision} for kind in MATH}
    # The mean is subtracted before anything is rounded, and responses are normalised in float32, in compiled functions.
    assert types["Sub"] >= {"float32"} and precision not in types["Sub"]
    nodes = [node for part in graph.graph.as_graph_def().library.function for node in part.node_def]
    assert {tf.as_dtype(node.attr["T"].type).name for node in nodes if node.op == "Rsqrt"} == {"float32"}
    assert graph.structured_outputs.dtype == tf.float32


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_in_low_precision_learns_resumes_exactly_and_is_used_in_float32(prepared, tmp_path, precision):
    last = train_and_evaluate(tiny(prepared, tmp_path / "whole", mixed_precision=precision))
    train_and_evaluate(tiny(prepared, tmp_path / "parts", mixed_precision=precision, steps=4))
    train_and_evaluate(tiny(prepared, tmp_path / "parts", mixed_precision=precision))
    model = load_trained(tmp_path / "whole")[0]
    assert same_weights(model, load_trained(tmp_path / "parts")[0])
    assert last["val_loss"] < math.log(3)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    rates = Evaluator(model)(evaluation_batches(open_source(str(prepared)), "validation", batch_size=4))
    assert abs(rates.loss - last["val_loss"]) < 0.05
    export_model(model, tmp_path / "export", ["blue", "green", "red"])


@pytest.mark.slow
def test_the_loss_scale_of_float16_is_in_the_checkpoint(prepared, tmp_path):
    train_and_evaluate(tiny(prepared, tmp_path / "run", mixed_precision="float16", epochs=1))
    names = dict(tf.train.list_variables(tf.train.latest_checkpoint(tmp_path / "run" / "checkpoints")))
    assert any("dynamic_scale" in name for name in names) and any("step_counter" in name for name in names)


def test_a_run_cannot_change_its_precision(prepared, trained):
    with pytest.raises(ValueError, match=r"mixed_precision=bfloat16: .* started with float32"):
        train_and_evaluate(tiny(prepared, trained, mixed_precision="bfloat16"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5])
def test_several_steps_in_one_call_give_the_same_weights(prepared, trained, tmp_path, count):
    train_and_evaluate(tiny(prepared, tmp_path / "run", steps_per_execution=count))
    assert same_weights(load_trained(tmp_path / "run")[0], load_trained(trained)[0])
    assert (tmp_path / "run" / "metrics.csv").read_text() == (trained / "metrics.csv").read_text()
