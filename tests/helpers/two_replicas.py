"""Training on two replicas, run as a process: devices must be set up before TensorFlow starts.

Two strategies in one process would share the numbers of their collective operations.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 8


def on_two_replicas(*arguments: str | Path) -> dict[str, Any]:
    """What one of the functions below returns: its name and its arguments."""
    command = [sys.executable, "-m", "tests.helpers.two_replicas", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def small(classes, image_size=16, classifier_activation="softmax"):
    """A residual block with batch normalization and stochastic depth, and dropout."""
    import keras

    from keras_alexnet.layers import BatchNormalization, StochasticDepth

    images = keras.Input((image_size, image_size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(images)
    maps = keras.layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False)(scaled)
    branch = BatchNormalization()(keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(maps))
    maps = keras.layers.Add()([maps, StochasticDepth(0.5, per="image")(branch)])
    features = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(maps))
    return keras.Model(images, keras.layers.Dense(classes, activation=classifier_activation)(features))


def resumed(photographs: str, folder: str) -> dict[str, Any]:
    """The largest difference of a weight between a run and one that is cut in two, and of what the run moved."""
    from keras_alexnet.checkpoints import load_trained
    from keras_alexnet.training.train_and_evaluate import train_and_evaluate
    from tests.helpers.tiny_training import tiny

    options = {"network": f"{__name__}:small", "width": 1.0, "init": "paper", "learning_rate": 0.01, "epochs": 1}
    options |= {"strategy": "mirrored", "virtual_devices": 2, "batch_size": BATCH}
    for name, steps in (("parts", 2), ("parts", None), ("whole", None)):
        train_and_evaluate(tiny(Path(photographs), Path(folder, name), steps=steps, **options))
    whole, parts = (load_trained(Path(folder, name))[0] for name in ("whole", "parts"))
    pairs = zip(whole.get_weights(), parts.get_weights(), strict=True)
    moved = np.abs(whole.layers[4].moving_mean.numpy()).max()
    return {"difference": float(max(np.abs(a - b).max() for a, b in pairs)), "moved": float(moved)}


def one_step() -> dict[str, Any]:
    """Moving statistics after a step in which the replicas have images of different brightness, and their masks."""
    import keras
    import tensorflow as tf

    from keras_alexnet.distribute.strategies import make_strategy
    from keras_alexnet.layers import BatchNormalization
    from keras_alexnet.optimizer import PaperSGD
    from keras_alexnet.training.train_step import TrainingSteps

    images = np.random.default_rng(0).normal(0, 1, (BATCH, 2, 2, 8)).astype(np.float32)
    images[BATCH // 2 :] += 10
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        inputs = keras.Input((2, 2, 8))
        normalization = BatchNormalization(momentum=0.5)
        model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(normalization(inputs))))
        model.optimizer = PaperSGD(0.1)
        model.optimizer.build(model.trainable_variables)
    steps = TrainingSteps(model, strategy, BATCH)
    batches = tf.data.Dataset.from_tensors((images, np.zeros(BATCH, np.int32)))
    steps.take(iter(strategy.experimental_distribute_dataset(batches)), [0.1])
    halves = np.split(images, 2)
    return {
        "mean": normalization.moving_mean.numpy().tolist(),
        "expected_mean": (0.5 * np.mean([half.mean((0, 1, 2)) for half in halves], 0)).tolist(),
        "variance": normalization.moving_variance.numpy().tolist(),
        "expected_variance": (0.5 + 0.5 * np.mean([half.var((0, 1, 2)) for half in halves], 0)).tolist(),
        "masks": _masks(strategy),
    }


def _masks(strategy: Any) -> list[float]:
    """For each pair of draws of two steps: the share of images for which the replicas decide alike."""
    import tensorflow as tf

    from keras_alexnet.layers import StochasticDepth

    with strategy.scope():
        layer = StochasticDepth(0.5, per="image", seed=0)
        layer.build((None, 1, 1, 1))
    ones = tf.ones([2000, 1, 1, 1])
    found = [strategy.run(lambda: layer(ones, training=True)) for _ in range(2)]
    kept = [value.numpy().ravel() for draw in found for value in strategy.experimental_local_results(draw)]
    return [float(np.mean(a == b)) for index, a in enumerate(kept) for b in kept[:index]]


if __name__ == "__main__":
    print(json.dumps({"resumed": resumed, "one_step": one_step}[sys.argv[1]](*sys.argv[2:])))
