"""Several processes that train together, on this machine."""

import contextlib
import csv
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.distribute.rendezvous import wait_for_all
from keras_alexnet.training.evaluation import Evaluator
from pipelines.datasets.registry import open_source
from pipelines.input import evaluation_batches
from tests.helpers.tiny_training import tiny

# Five steps without dropout on a batch of 8, through the training loop's own steps.
FIVE_STEPS = """
import sys
import keras_alexnet, keras, numpy as np, tensorflow as tf
from keras_alexnet.layers import TowerDropout
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.training.train_step import TrainingSteps
from keras_alexnet.distribute.cluster import Cluster
strategy = make_strategy(sys.argv[1])
workers = Cluster(strategy)
keras.utils.set_random_seed(0)
with strategy.scope():
    model = keras_alexnet.AlexNet(width=1 / 16, classes=3, classifier_activation=None, init="he")
    model.compile(keras_alexnet.PaperSGD(0.01))
    model.optimizer.build(model.trainable_variables)
for layer in model.layers:
    if isinstance(layer, TowerDropout):
        layer.rate = 0.0
random = np.random.default_rng(0)
x, y = random.integers(0, 256, (16, 224, 224, 3)).astype("float32"), random.integers(0, 3, 16).astype("int32")
data = tf.data.Dataset.from_tensor_slices((x, y)).repeat(3).shard(workers.count, workers.index)
batches = iter(workers.distribute(data.batch(8 // workers.count, drop_remainder=True)))
steps = TrainingSteps(model, strategy, 8)
for _ in range(5):
    steps.take(batches, [0.01])
np.savez(sys.argv[2] % workers.index, sums=steps.sums.numpy(), *model.get_weights())
"""


def cluster_of(count):
    """An address with a free port for each worker."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@pytest.fixture
def start():
    """Starts a worker: `start(addresses, index, arguments of Python ...)`; whatever still runs is killed at the end."""
    processes = []

    def start_worker(addresses, index, *arguments):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | {"TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start_worker
    for process in processes:
        process.kill()
        process.communicate()


def outcome(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.subprocess
def test_five_steps_of_two_workers_give_the_weights_of_one_process(tmp_path, start):
    addresses = cluster_of(2)
    workers = [start(addresses, index, "-c", FIVE_STEPS, "multiworker", str(tmp_path / "w%d.npz")) for index in (0, 1)]
    for worker in workers:
        code, output = outcome(worker)
        assert code == 0, output
    subprocess.run([sys.executable, "-c", FIVE_STEPS, "single", str(tmp_path / "s%d.npz")], check=True)
    expected, first, second = (np.load(tmp_path / f"{name}.npz") for name in ("s0", "w0", "w1"))
    for name in expected:
        np.testing.assert_allclose(first[name], expected[name], atol=5e-5)
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.medium
@pytest.mark.subprocess
def test_workers_have_the_same_moving_statistics(tmp_path, start):
    normalization = "keras_alexnet.layers.BatchNormalization()"
    layers = f"Input((224, 224, 3)), Conv2D(8, 9, 16), {normalization}, GlobalMaxPooling2D(), Dense(3)"
    model = 'keras_alexnet.AlexNet(width=1 / 16, classes=3, classifier_activation=None, init="he")'
    assert model in FIVE_STEPS
    code = "from keras.layers import *\n" + FIVE_STEPS.replace(model, f"keras.Sequential([{layers}])")
    addresses = cluster_of(2)
    workers = [start(addresses, index, "-c", code, "multiworker", str(tmp_path / "w%d.npz")) for index in (0, 1)]
    for worker in workers:
        exit_code, output = outcome(worker)
        assert exit_code == 0, output
    first, second = (np.load(tmp_path / f"w{index}.npz") for index in (0, 1))
    assert len(first.files) == 9
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not np.allclose(first["arr_4"], 0), "the moving mean has not moved"


def command(config):
    flags = [f"--{name}={value}" for name, value in vars(config).items() if value is not None]
    return ["-m", "keras_alexnet.train", *flags]


def wait_for_checkpoint(model_dir, number, workers):
    end = time.monotonic() + 120
    while not (model_dir / "checkpoints" / f"ckpt-{number}.index").exists():
        assert time.monotonic() < end and all(worker.poll() is None for worker in workers), workers[0].communicate()[0]
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.subprocess
def test_when_one_worker_is_told_to_stop_all_stop_and_the_same_commands_go_on(photographs, tmp_path, start):
    endless = tiny(photographs, tmp_path, strategy="multiworker", epochs=9999)
    addresses = cluster_of(2)
    workers = [start(addresses, index, *command(endless)) for index in (0, 1)]
    wait_for_checkpoint(tmp_path, 3, workers)
    workers[1].send_signal(signal.SIGTERM)
    for worker in workers:
        code, output = outcome(worker)
        assert code == 128 + signal.SIGTERM and "the same command resumes" in output, output
    addresses = cluster_of(2)
    steps = int(re.search(r"ckpt-(\d+)", (tmp_path / "checkpoints" / "checkpoint").read_text())[1])
    longer = dataclasses.replace(endless, epochs=steps // 3 + 1)
    (code, output), other = map(outcome, [start(addresses, index, *command(longer)) for index in (0, 1)])
    assert (code, other[0]) == (0, 0), output
    assert f"found a run of {steps} steps" in output and "Epoch" in output and "Epoch" not in other[1]

    # Two workers and nine images: all of them have been counted.
    with open(tmp_path / "metrics.csv") as file:
        row = list(csv.DictReader(file))[-1]
    source = open_source(endless.dataset)
    rates = Evaluator(load_trained(tmp_path)[0], "center")(evaluation_batches(source, "validation", batch_size=4))
    assert rates.images == 9 and float(row["val_top1_error"]) == rates.top1_error
    assert float(row["val_loss"]) == pytest.approx(rates.loss, rel=1e-5)


@pytest.mark.subprocess
@pytest.mark.slow
def test_a_worker_that_dies_is_named_and_the_run_goes_on_as_if_nothing_had_been(photographs, tmp_path, start):
    whole, killed = (
        tiny(photographs, tmp_path / name, strategy="multiworker", epochs=8, checkpoint_steps=1) for name in ("a", "b")
    )
    addresses = cluster_of(2)
    for worker in [start(addresses, index, *command(whole)) for index in (0, 1)]:
        assert outcome(worker)[0] == 0
    for victim in (1, 0):
        addresses = cluster_of(2)
        workers = [start(addresses, index, *command(killed)) for index in (0, 1)]
        wait_for_checkpoint(tmp_path / "b", 4 if victim else 8, workers)
        workers[victim].kill()
        code, output = outcome(workers[1 - victim])
        assert code == 1 and f"lost worker {victim} ({addresses[victim]})" in output, output
    addresses = cluster_of(2)
    for worker in [start(addresses, index, *command(killed)) for index in (0, 1)]:
        code, output = outcome(worker)
        assert code == 0, output
    assert (tmp_path / "a" / "metrics.csv").read_text() == (tmp_path / "b" / "metrics.csv").read_text()
    expected, got = (load_trained(tmp_path / name)[0].get_weights() for name in ("a", "b"))
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.subprocess
@pytest.mark.slow
def test_workers_with_other_flags_are_refused(photographs, tmp_path, start):
    addresses = cluster_of(2)
    seeds = [tiny(photographs, tmp_path, strategy="multiworker", seed=seed) for seed in (1, 2)]
    for index, worker in enumerate([start(addresses, index, *command(seeds[index])) for index in (0, 1)]):
        code, output = outcome(worker)
        assert code == 1
        assert f"--seed={index + 1} in worker {index}: expected the same value in all workers" in output


def test_workers_wait_for_each_other_and_ignore_other_connections():
    addresses, came = cluster_of(3), []

    def worker(index):
        wait_for_all(addresses, index)
        came.append(index)

    threads = [threading.Thread(target=worker, args=(index,), daemon=True) for index in (0, 1, 2)]
    for thread in threads[:2]:
        thread.start()
    host, port = addresses[0].split(":")
    for words in (b"GET / HTTP/1.1", b"7", b""):
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(words)
                break
    time.sleep(1)
    assert came == []
    threads[2].start()
    for thread in threads:
        thread.join(30)
    assert sorted(came) == [0, 1, 2]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_workers_connect_over_ipv6():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        addresses = [f"[::1]:{free.getsockname()[1]}", "[::1]:1"]
    threads = [threading.Thread(target=wait_for_all, args=(addresses, index), daemon=True) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"worker 0 cannot listen at {address}: Address already in use"):
            wait_for_all([address, "127.0.0.1:1"], 0)
