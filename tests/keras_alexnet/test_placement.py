import json
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import sys, json
import keras_alexnet, keras, numpy as np, tensorflow as tf
from keras_alexnet import placement
from keras_alexnet.layers import TowerDropout
name, devices = sys.argv[1], int(sys.argv[2])
strategy = placement.make_strategy(name, devices)
keras.utils.set_random_seed(0)
with strategy.scope():
    model = keras_alexnet.AlexNet(width=1 / 16, classes=3, classifier_activation=None, init="he")
    optimizer = keras_alexnet.PaperSGD(0.01)
    optimizer.build(model.trainable_variables)
for layer in model.layers:
    if isinstance(layer, TowerDropout) and "dropout" not in sys.argv:
        layer.rate = 0.0
random = np.random.default_rng(0)
x, y = random.integers(0, 256, (16, 224, 224, 3)).astype("float32"), random.integers(0, 3, 16).astype("int32")
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat(3).take(5)
batches = strategy.experimental_distribute_dataset(data)

@tf.function
def step(x, y):
    def replica(x, y):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True))
            loss = tf.reduce_sum(losses) / 8
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    strategy.run(replica, args=(x, y))

for batch in batches:
    step(*batch)
np.savez(sys.argv[3], *model.get_weights())
where = {}
for v in [*model.trainable_variables, *optimizer.variables]:
    copies = getattr(v.value, "values", [v.value])
    where[v.path] = [tf.DeviceSpec.from_string(c.device).device_index for c in copies]
print(json.dumps({"replicas": strategy.num_replicas_in_sync, "where": where}))
"""


def run(tmp_path, name, devices):
    out = tmp_path / f"{name}{devices}.npz"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(devices), str(out)], capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout.splitlines()[-1]), out


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return run(tmp_path_factory.mktemp("single"), "single", 1)[1]


@pytest.mark.parametrize("name, devices, replicas", [("mirrored", 2, 2), ("towers", 2, 1), ("towers", 4, 2)])
def test_five_steps_give_the_same_weights_wherever_they_run(single, tmp_path, name, devices, replicas):
    report, out = run(tmp_path, name, devices)
    assert report["replicas"] == replicas
    expected, got = np.load(single), np.load(out)
    for key in expected:
        np.testing.assert_allclose(got[key], expected[key], atol=1e-5)
    if name == "towers":
        partners = list(range(1, devices, 2))
        for path, indices in report["where"].items():
            if "kernel_1" in path or "bias_1" in path:
                assert indices == partners, f"{path} belongs to tower 1"
            elif "_0" in path:
                assert indices == [partner - 1 for partner in partners], f"{path} belongs to tower 0"
