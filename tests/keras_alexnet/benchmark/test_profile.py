import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import VARIANTS
from keras_alexnet.benchmark.inference import forward_flop
from keras_alexnet.benchmark.machine import memory_bandwidth
from keras_alexnet.benchmark.operations import Operation, trace_operations
from keras_alexnet.benchmark.profile import ProfileReport, Roofline, profile_inference, profile_training
from keras_alexnet.benchmark.strategies import training_flop
from tests.helpers.commands import run_command

pytestmark = pytest.mark.medium

SMALL = VARIANTS["paper"].scaled(1 / 32)


class Kept(ProfileReport):
    """Keeps the operations."""

    def __init__(self):
        super().__init__(Roofline(1e11, 1e10))
        self.operations = {}

    def add(self, title, operations, processor):
        self.operations[title] = operations
        super().add(title, operations, processor)


def test_operations_have_layers_work_and_bytes():
    layers = [keras.layers.Conv2D(4, 3, name="first", activation="relu"), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(5, name="last")])
    inputs = {"images": np.ones((2, 8, 8, 3), np.float32)}
    names = [layer.name for layer in model.layers]
    operations, processor = trace_operations(lambda images: {"scores": model(images)}, inputs, names, runs=1)
    work = {operation.layer: operation for operation in operations if operation.flop}
    assert {layer: operation.flop for layer, operation in work.items()} == {
        "first": 2 * (2 * 6 * 6 * 4) * 3 * 3 * 3,
        "last": 2 * 2 * 144 * 5,
    }
    assert work["first"].kind.startswith("Conv2D") and work["last"].kind.startswith("MatMul")
    # Images, kernel and outputs, at least.
    assert work["first"].bytes >= 4 * (2 * 8 * 8 * 3 + 3 * 3 * 3 * 4 + 2 * 6 * 6 * 4)
    assert processor > 0 and all(operation.seconds >= 0 for operation in operations)


def test_the_iterations_of_a_loop_and_products_of_transposed_matrices_count():
    matrix = tf.Variable(tf.ones([4, 6]), name="layer/kernel")

    def function(rows):
        def body(index, sums):
            return index + 1, sums + tf.matmul(matrix[tf.newaxis], rows[tf.newaxis], adjoint_b=True)[0]

        _, sums = tf.while_loop(lambda index, _: index < tf.shape(rows)[0], body, (0, tf.zeros([4, 3])))
        return {"product": sums}

    operations, _ = trace_operations(function, {"rows": np.ones((3, 6), np.float32)}, ["layer"], runs=1)
    products = [operation for operation in operations if operation.flop]
    assert [(product.layer, product.flop) for product in products] == [("layer", 2 * 4 * 6 * 3)] * 3


def test_only_the_branch_that_is_taken_counts():
    matrix = tf.Variable(tf.ones([4, 6]), name="layer/kernel")

    def function(rows):
        def one():
            return tf.matmul(rows, matrix, transpose_b=True)

        return {
            "product": tf.cond(tf.shape(rows)[0] == 1, one, lambda: tf.transpose(tf.matmul(matrix, rows, False, True)))
        }

    operations, _ = trace_operations(function, {"rows": np.ones((3, 6), np.float32)}, ["layer"], runs=1)
    products = [operation for operation in operations if operation.flop]
    assert [(product.layer, product.flop) for product in products] == [("layer", 2 * 4 * 6 * 3)]


@pytest.mark.slow
def test_the_operations_of_the_networks_are_those_that_the_arithmetic_expects(capsys):
    report = Kept()
    profile_training(SMALL, "small", 2, 1, report)
    profile_inference(SMALL, "small", 2, 1, report)
    flop = {title: sum(operation.flop for operation in found) for title, found in report.operations.items()}
    titles = ["batch 2: a training step", "2 images: Keras model, one crop", "2 images: served graph, one crop"]
    assert list(flop)[:3] == [f"small, {title}" for title in titles] and len(flop) == 4
    training, keras_model, served, _ = flop.values()
    assert training == 2 * training_flop(SMALL)
    # Local response normalization is a convolution too.
    assert 2 * forward_flop(SMALL) <= keras_model <= served < 2.5 * forward_flop(SMALL)
    for found in report.operations.values():
        layers = {operation.layer for operation in found if operation.flop}
        assert layers >= {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"}
    printed = capsys.readouterr().out
    assert "of roofline" in printed and "conv5" in printed and "all others" in printed


def test_a_profile_is_a_table_and_a_csv_file(tmp_path, capsys):
    report = ProfileReport(Roofline(flops=100e9, bandwidth=10e9), str(tmp_path / "new"))
    product = Operation("fc6", "MatMul", 0.5, 10e9, 1_000_000_000)
    report.add("a step", [product, product, Operation("", "Mul", 0.25, 0, 500_000_000)], 1.25)
    (path,) = report.write("a processor\nversions")
    about, versions, *lines = path.read_text("utf-8").splitlines()
    assert (about, versions) == ("# a processor", "# versions")
    first, second = csv.DictReader(lines)
    expected = {"layer": "fc6", "calls": "2", "ms": "1000.00", "share": "80.0%", "GFLOP/s": "20", "of roofline": "20%"}
    assert {key: first[key] for key in expected} == expected
    assert (second["GB/s"], second["of roofline"], second["GFLOP"]) == ("2.0", "20%", "")
    assert "1250 CPU ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--part=input", "--profile"], "--profile is for --part=train, inference or all; found --part=input"),
        (["--part=inference", "--batches=1,x"], "--batches=1,x: expected numbers of images from 1, such as 1,80"),
        (["--part=train", "--profile", "--peers"], "--peers has no effect with --profile"),
        (["--part=train", "--batches=1"], "--batches is for --part=inference or all; found --part=train"),
    ],
)
def test_flags_of_other_parts_are_refused_in_one_line(flags, says):
    finished = run_command("keras_alexnet.benchmark.__main__", *flags)
    assert finished.returncode == 1 and says in finished.stderr and finished.stderr.count("\n") == 1


def test_the_bandwidth_is_a_rate():
    assert memory_bandwidth(turns=1) > 0.1
