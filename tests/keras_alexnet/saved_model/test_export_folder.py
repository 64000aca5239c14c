"""The files of an export; it is published only if it predicts as the Keras model does."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from keras_alexnet import AlexNet, export_model
from keras_alexnet.saved_model import export, verify, warmup
from keras_alexnet.saved_model.module import ServingModule
from keras_alexnet.saved_model.serving_network import ServingNetwork
from serving import signatures as wire
from tests.helpers.processor import needs_bfloat16

pytestmark = pytest.mark.subprocess

# Everything that the graph may be made of. A new operation is a question: does TensorFlow Serving have it, on a CPU?
NETWORK_OPS = """Add AddN AddV2 BatchMatMulV2 BiasAdd Cast ConcatV2 Conv2D Fill FloorDiv GatherV2 MatMul MaxPool Mul Pad
    RealDiv Relu Reshape ReverseV2 Rsqrt Softmax Split Sqrt Square StridedSlice Sub Tile TopKV2 Transpose ZerosLike"""
IMAGE_OPS = """All Any ArgMax Assert Bitcast Ceil Cumprod DecodeCompressed DecodeJpeg DecodePaddedRaw DecodePng
    DecodeRaw Equal ExpandDims ExtractJpegShape Floor Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot
    LogicalOr Max Maximum Min Minimum NotEqual Pack PadV2 Pow Prod Range Rank ReduceJoin Round ScaleAndTranslate
    ScatterNd SelectV2 Shape Size StringJoin StringLength StringSplitV2 Substr Sum Unpack"""
DATASET_OPS = """BatchDatasetV2 ConcatenateDataset DatasetToSingleElement IgnoreErrorsDataset MapDataset
    ParallelMapDatasetV2 TakeDataset TensorDataset TensorSliceDataset"""
CONTROL_OPS = """Case Const EnsureShape Identity If NoOp ReadVariableOp StatefulPartitionedCall StatelessCase
    StatelessIf StatelessWhile TensorListConcatV2 TensorListReserve TensorListSetItem TensorListStack While"""
PLAIN_OPS = set(f"{NETWORK_OPS} {IMAGE_OPS} {DATASET_OPS} {CONTROL_OPS}".split())


def network(**options):
    keras.utils.set_random_seed(5)
    return AlexNet(**{"width": 1 / 32, "classes": 3, "init": "he", "classifier_activation": None} | options)


@pytest.fixture(scope="module")
def in_bfloat16(tmp_path_factory):
    mean = np.random.default_rng(0).uniform(80, 150, (256, 256, 3))
    base = tmp_path_factory.mktemp("export") / "alexnet"
    settings = {"precision": "bfloat16", "top_k": 2, "max_pixels": 70_000, "training": {"dataset": "photos"}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)
        return Path(export_model(network(mean=mean), base, ["a", "b", "c"], **settings))


def warmup_requests(folder):
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    return [PredictionLog.FromString(record.numpy()).predict_log.request for record in records]


def test_the_graph_names_no_device_and_holds_plain_ops_only(in_bfloat16):
    saved = saved_model_pb2.SavedModel.FromString((in_bfloat16 / "saved_model.pb").read_bytes())
    (graph,) = (meta.graph_def for meta in saved.meta_graphs)
    # TensorFlow's own saver pins itself to the CPU, which is always there.
    functions = [f for f in graph.library.function if "traced_save" not in f.signature.name]
    functions = [f for f in functions if "traced_restore" not in f.signature.name]
    nodes = [node for function in functions for node in function.node_def]
    assert len(nodes) > 100 and {node.device for node in nodes} == {""}
    assert {node.op for node in nodes} - PLAIN_OPS == set()
    for function in functions:
        assert not function.attr["_XlaMustCompile"].b and "api_implements" not in function.attr


def test_in_float32_the_operations_are_plain_too():
    graphs = [
        function.graph.as_graph_def()
        for function in ServingModule(ServingNetwork(network()), ["a", "b", "c"]).trace().values()
    ]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [node for part in functions for node in part.node_def] + [node for graph in graphs for node in graph.node]
    assert len(nodes) > 100
    assert {node.op for node in nodes} - PLAIN_OPS - {"Placeholder"} == set()


def test_every_signature_is_warmed_up_at_every_allowed_batch_size(in_bfloat16):
    requests = warmup_requests(in_bfloat16)
    assert len(requests) <= 1000, "TensorFlow Serving refuses more"
    signatures = {wire.SIGNATURE_TEN_CROP, wire.SIGNATURE_CENTER, wire.SIGNATURE_IMAGES, wire.SIGNATURE_FEATURES}
    seen = [(r.model_spec.signature_name, next(iter(r.inputs.values())).tensor_shape.dim[0].size) for r in requests]
    assert sorted(seen) == sorted((name, size) for name in signatures for size in (1, 2, 4, 8, 16))
    assert {request.model_spec.name for request in requests} == {"alexnet"}


def batching_parameters(text):
    """Parses TensorFlow Serving's BatchingParameters (session_bundle_config.proto), which its package lacks."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    kinds = descriptor_pb2.FieldDescriptorProto
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, start=1):
        value = {"type": kinds.TYPE_MESSAGE, "type_name": ".google.protobuf.Int64Value"}
        message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, **value)
    message.field.add(name="allowed_batch_sizes", number=6, label=kinds.LABEL_REPEATED, type=kinds.TYPE_INT64)
    from google.protobuf import wrappers_pb2

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.BatchingParameters"))
    return text_format.Parse(text, kind())


def test_tensorflow_serving_s_configuration_is_beside_the_versions(in_bfloat16):
    parameters = batching_parameters((in_bfloat16.parent / "batching_params.pbtxt").read_text())
    assert list(parameters.allowed_batch_sizes) == [1, 2, 4, 8, 16]
    assert parameters.max_batch_size.value == 16 and not parameters.HasField("num_batch_threads")
    config = text_format.Parse((in_bfloat16.parent / "models.config").read_text(), ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("alexnet", str(in_bfloat16.parent), "tensorflow")


def test_the_options_are_those_of_the_graph_and_on_the_card(in_bfloat16):
    card = json.loads((in_bfloat16 / "assets.extra" / "model_card.json").read_text())
    assert card["model"] == "alexnet_paper" and card["training"] == {"dataset": "photos"}
    served = {"precision": "bfloat16", "top_k": 2, "max_pixels": 70_000, "resize": "shorter_side"}
    assert card["served"] == served and card["parameters"] == network().count_params()
    assert card["versions"]["tensorflow"] == tf.__version__ and "git_revision" in card
    loaded = tf.saved_model.load(str(in_bfloat16))
    files = [tf.io.encode_png(np.full((size, 256, 3), 90, np.uint8)) for size in (256, 300)]
    outputs = loaded.signatures[wire.SIGNATURE_CENTER](image_bytes=tf.stack(files))
    assert outputs["valid"].numpy().tolist() == [True, False], "the second has more pixels than allowed"
    assert outputs["scores"].shape == (2, 2) and outputs["probabilities"].shape == (2, 3)
    variables = sum(file.stat().st_size for file in (in_bfloat16 / "variables").iterdir())
    assert variables < 2.3 * network().count_params() + 4 * network().get_layer("fc8").count_params()


def test_an_operator_s_configuration_is_left_alone(tmp_path, unchecked):
    (tmp_path / "models.config").write_text("model_config_list {}\n")
    export_model(network(), tmp_path, ["a", "b", "c"])
    assert (tmp_path / "models.config").read_text() == "model_config_list {}\n"
    assert (tmp_path / "batching_params.pbtxt").exists()


@pytest.mark.subprocess
@pytest.mark.numeric
@pytest.mark.slow
@needs_bfloat16
def test_an_export_in_bfloat16_is_verified(tmp_path):
    assert export_model(network(), tmp_path, ["a", "b", "c"], precision="bfloat16") == str(tmp_path / "1")


@pytest.mark.subprocess
def test_an_export_that_predicts_otherwise_is_not_published(tmp_path, monkeypatch):
    def of_another_network(loaded, *arguments):
        keras.utils.set_random_seed(6)
        other = AlexNet(width=1 / 32, classes=3, init="he", classifier_activation=None)
        return warmup.probes(dataclasses.replace(loaded, model=other), *arguments)

    monkeypatch.setattr(export, "probes", of_another_network)
    with pytest.raises(
        ValueError, match=r"verification failed, nothing is published: .*differs from the Keras model's by"
    ):
        export_model(network(), tmp_path, ["a", "b", "c"])
    assert not list(tmp_path.iterdir())


@pytest.mark.subprocess
@pytest.mark.slow
def test_an_export_whose_warm_up_fails_is_not_published(tmp_path, monkeypatch):
    def with_a_wrong_one(*arguments):
        requests = warmup.warmup_requests(*arguments)[:1]
        requests[0].predict_log.request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([[b"two dimensions"]]))
        return requests

    monkeypatch.setattr(export, "warmup_requests", with_a_wrong_one)
    with pytest.raises(ValueError, match="nothing is published: ValueError: Cannot feed value of shape"):
        export_model(network(), tmp_path, ["a", "b", "c"])
    assert not list(tmp_path.iterdir())


@pytest.mark.subprocess
@pytest.mark.slow
def test_the_oldest_tensorflow_loads_an_export_and_predicts_the_same(tmp_path, monkeypatch):
    python = os.environ.get("PYTHON_WITH_TENSORFLOW_2_20")
    if not python:
        pytest.skip("PYTHON_WITH_TENSORFLOW_2_20 names no interpreter (`make .venv-lowest/.installed` builds one)")
    monkeypatch.setattr(
        export, "verify_export", lambda part, expected, *_: warmup.write_logs(tmp_path / "log", expected)
    )
    version = Path(export_model(network(), tmp_path / "base", ["a", "b", "c"]))
    program = (
        "import runpy, sys, tensorflow; print(tensorflow.__version__); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = [verify.__file__, version, "1e-4", "1e-6", version / warmup.WARMUP_FILE, tmp_path / "log"]
    ran = subprocess.run([python, "-P", "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tensorflow, requests = ran.stdout.split()
    assert tensorflow.startswith("2.20.") and int(requests) > 5
