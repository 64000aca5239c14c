"""Runs functions below on a CPU that looks like four, and prints what they return as JSON.

Devices must be set up before TensorFlow starts, so tests run this as a process: `on_four_devices(name, ...)`, or
`all_on_four_devices((name, ...), ...)` for several functions in one process, which saves the seconds that TensorFlow
needs to start. No two of them may use mirrored strategies of different sizes, whose collectives interfere.
"""

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

CLASSES, BATCH = 8, 16


def on_four_devices(name: str, *arguments: str) -> Any:
    return all_on_four_devices((name, *arguments))[0]


def all_on_four_devices(*calls: tuple[str, ...]) -> list[Any]:
    """What each of the calls, a function's name and its arguments, returns."""
    command = [sys.executable, "-m", "tests.helpers.four_devices", json.dumps(calls)]
    root = Path(__file__).parents[2]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def names(count: int) -> list[str]:
    return [f"CPU:{index}" for index in range(count)]


def small(dropout: bool = True):
    from keras_alexnet import VARIANTS
    from keras_alexnet.benchmark.strategies import without_dropout

    variant = VARIANTS["paper"].with_he_initialization().scaled(1 / 16)
    return variant if dropout else without_dropout(variant)


def training(strategy: str, count: int, batch: int = BATCH, dropout: bool = True):
    from keras_alexnet.benchmark.strategies import Training
    from keras_alexnet.distribute.strategies import make_strategy

    return Training(small(dropout), CLASSES, make_strategy(strategy, devices=names(count)), batch)


def differences(dropout: str = "off") -> dict[str, float]:
    from keras_alexnet.benchmark import strategies as benchmark_strategies
    from keras_alexnet.distribute.strategies import make_strategy

    if dropout == "on":
        benchmark_strategies.without_dropout = lambda variant: variant
    kinds = [("single", 1), ("mirrored", 2), ("towers", 2), ("towers", 4)]
    chosen = {f"{name} x{count}": make_strategy(name, devices=names(count)) for name, count in kinds}
    moved, found = benchmark_strategies.weight_differences(small(), CLASSES, chosen, BATCH)
    return {"moved": moved, **found}


def placement(strategy: str, count: str) -> list:
    from keras_alexnet.distribute.placement import placement_table

    trained = training(strategy, int(count))
    return placement_table(trained.model, strategy=trained.strategy)


def graph(count: str, broken: str = "") -> dict:
    from tests.helpers import partitioned

    with misplaced(broken) if broken else contextlib.nullcontext():
        trained = training("towers", int(count))
        batches = trained.batches(0)
        graphs = partitioned.partition_graphs(lambda: trained.take(batches))
    return {"crossings": partitioned.crossings(graphs), "operations": partitioned.heavy_operations(graphs)}


@contextlib.contextmanager
def misplaced(what: str) -> Iterator[None]:
    """A layer, all gradients, or the sums of gradients over the replicas are not where they should be."""
    from keras_alexnet import PaperSGD
    from keras_alexnet.distribute import towers
    from keras_alexnet.layers import tower_layers

    original = tower_layers.on_tower

    def conv4_on_the_first(index, function, *tensors):
        return original(0 if function.func.__self__.name == "conv4" else index, function, *tensors)

    def forward_only(index, function, *tensors):
        with towers.tower(index):
            return function(*tensors)

    sums = super(PaperSGD, PaperSGD)._all_reduce_sum_gradients
    patch = {
        "conv4": mock.patch.object(tower_layers, "on_tower", conv4_on_the_first),
        "gradients": mock.patch.object(tower_layers, "on_tower", forward_only),
        "sums": mock.patch.object(PaperSGD, "_all_reduce_sum_gradients", sums),
    }[what]
    with patch:
        yield


def train(*flags: str) -> dict[str, Any]:
    """Two steps of the train command."""
    from tests.helpers.commands import run_command

    common = ("--synthetic", "--width=0.0625", "--steps=2", "--virtual_devices=4")
    return run_command("keras_alexnet.train", *common, *flags)._asdict()


def masks() -> dict[str, float]:
    """Pairs of replica and tower -> share of units that both masks treat alike."""
    import tensorflow as tf

    from keras_alexnet.distribute.strategies import make_strategy
    from keras_alexnet.layers import TowerDropout

    strategy = make_strategy("towers", devices=names(4))
    with strategy.scope():
        layer = TowerDropout(seed=1)
    ones = tf.ones([10, 1000])
    outputs = tf.function(lambda: strategy.run(lambda: layer([ones, ones], training=True)))()
    drawn = {
        f"replica {replica} tower {tower}": copy.numpy()
        for tower, output in enumerate(outputs)
        for replica, copy in enumerate(strategy.experimental_local_results(output))
    }
    return {f"{a}, {b}": float(np.mean(drawn[a] == drawn[b])) for a, b in itertools.combinations(drawn, 2)}


def precision(policy: str) -> dict[str, list[float]]:
    import keras

    keras.config.set_dtype_policy(f"mixed_{policy}")
    found = {}
    for strategy, count in [("single", 1), ("mirrored", 2), ("towers", 4)]:
        # Few images, because float16 takes its time on a CPU.
        trained = training(strategy, count, batch=4, dropout=False)
        if policy == "float16":
            # From Keras' own first scale, steps are skipped until it fits, and not the same ones.
            trained.model.optimizer.dynamic_scale.assign(1024.0)
        start = trained.model.get_weights()
        losses = np.diff([0, *(trained.take(trained.batches(step)) for step in range(3))]) / 4
        moved = max(np.abs(a - b).max() for a, b in zip(trained.model.get_weights(), start, strict=True))
        found[f"{strategy} x{count}"] = [*losses.tolist(), float(moved)]
    return found


def overflow(strategy: str, count: str, broken: str = "") -> dict:
    """One step of float16 in which the gradients of the second replica overflow, and those of the first are 0."""
    import keras
    import tensorflow as tf

    from keras_alexnet.training import train_step as steps

    if broken:
        steps._overflow_together = lambda gradients, replica: gradients
    keras.config.set_dtype_policy("mixed_float16")
    trained = training(strategy, int(count), batch=2)
    trained.model.get_layer("fc8").biases[0].assign([50.0] + [0.0] * (CLASSES - 1))
    trained.model.optimizer.dynamic_scale.assign(2.0**40)
    start = trained.model.get_weights()
    images, _ = next(trained.batches(0))
    labels = trained.strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant([context.replica_id_in_sync_group])
    )
    loss = trained.take(iter([(images, labels)]))
    same = all(np.array_equal(a, b) for a, b in zip(trained.model.get_weights(), start, strict=True))
    return {"loss": loss, "same": same, "scale": float(tf.convert_to_tensor(trained.model.optimizer.dynamic_scale))}


def fit() -> dict:
    """Two epochs of model.fit in user code, under TowerMirroredStrategy and without."""
    import keras
    import tensorflow as tf

    import keras_alexnet
    from tests.helpers import partitioned

    random = np.random.default_rng(0)
    images, labels = random.uniform(0, 255, (16, 224, 224, 3)).astype("float32"), random.integers(0, CLASSES, 16)
    found, weights = {}, []
    for strategy in (tf.distribute.get_strategy(), keras_alexnet.TowerMirroredStrategy(names(4))):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = keras_alexnet.AlexNet(small(dropout=False), classes=CLASSES)
            model.compile(keras_alexnet.PaperSGD(0.01), loss="sparse_categorical_crossentropy")
        data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
        graphs = partitioned.partition_graphs(lambda model=model, data=data: model.fit(data, epochs=2, verbose=0))
        weights.append(model.get_weights())
        found["crossings"] = partitioned.crossings(graphs)
    found["difference"] = max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True))
    return found


def class_weights() -> dict[str, list]:
    """Strategy -> sum of the losses and weights of a linear network after a step with weighted classes."""
    import tensorflow as tf

    from keras_alexnet.distribute.strategies import make_strategy
    from tests.helpers import weighted_classes as weighted

    found = {}
    for name, count in [("single", 1), ("mirrored", 2), ("towers", 4)]:
        strategy = make_strategy(name, devices=names(count))
        steps = weighted.steps(strategy)
        shares = [np.split(part, strategy.num_replicas_in_sync) for part in (weighted.X, weighted.LABELS)]
        batch = [
            strategy.experimental_distribute_values_from_function(
                lambda context, parts=parts: tf.constant(parts[context.replica_id_in_sync_group])
            )
            for parts in shares
        ]
        steps.take(iter([tuple(batch)]), [1.0])
        found[f"{name} x{count}"] = [float(steps.sums[0]), steps.model.get_weights()[0].tolist()]
    return found


def multipliers() -> list:
    """Weights of the linear network after three steps of `fit` on two replicas."""
    import tensorflow as tf

    from keras_alexnet import PaperSGD
    from tests.helpers import linear_network as linear

    with tf.distribute.MirroredStrategy(names(2)).scope():
        model = linear.linear_network()
        model.compile(PaperSGD(**linear.CONSTANTS, **linear.MULTIPLIERS), linear.half_squares)
    data = tf.data.Dataset.from_tensors((linear.X, np.zeros(len(linear.X)))).repeat(3)
    model.fit(data, verbose=0)
    return [weight.tolist() for weight in model.get_weights()]


if __name__ == "__main__":
    from keras_alexnet.distribute.strategies import split_cpu

    split_cpu(4)
    print(json.dumps([globals()[name](*arguments) for name, *arguments in json.loads(sys.argv[1])]))
