"""Work on a local Ray cluster of two machines, whose workers are killed."""

import functools
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from keras_alexnet.prediction.images import find_inputs
from keras_alexnet.prediction.predictor import Settings
from keras_alexnet.prediction.run import predict_to_file
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from pipelines.ray_runner import run_on_ray
from tests.helpers.colour_network import colour_network, write_images
from tests.helpers.image_files import image_folder

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("PYTHONPATH", str(ROOT))
        patched.setenv("RAY_raylet_start_wait_time_s", "200")  # on a machine with other work
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        patched.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def record_worker(folder):
    """Records this process in `folder`, and waits for another one: on a busy machine one could do all the work."""
    (folder / str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.05)


class Squares:
    """Is slow enough to be killed."""

    def __init__(self, folder):
        record_worker(folder)

    def __call__(self, number):
        time.sleep(0.3)
        if number < 0:
            raise ValueError(f"number={number}: expected a number from 0")
        return number**2


def test_the_items_of_a_killed_worker_are_repeated(cluster, tmp_path):
    killed = None
    results = []
    for result in run_on_ray(functools.partial(Squares, tmp_path), range(16)):
        results.append(result)
        workers = sorted(map(int, os.listdir(tmp_path)))
        if killed is None and len(workers) == 2:
            killed = workers[0]
            os.kill(killed, signal.SIGKILL)
    assert killed is not None and sorted(results) == [number**2 for number in range(16)]


def test_the_error_of_a_worker_is_one_line(cluster, tmp_path):
    with pytest.raises(ValueError, match=r"runner=ray: a worker failed: number=-1: expected") as caught:
        list(run_on_ray(functools.partial(Squares, tmp_path), [-1, 1]))
    assert "\n" not in str(caught.value)


def recorded(folder, export, driver):
    """Loads a slow network, and records the process in `folder` unless it is the `driver`."""
    if os.getpid() != driver:
        record_worker(folder)
    return colour_network(export, 0.3)


def kill_one(folder, parts):
    """Kills one of two workers, once there is a part."""
    while len(workers := os.listdir(folder)) < 2 or not list(parts.glob("part-*")):
        time.sleep(0.05)
    os.kill(int(min(workers)), signal.SIGKILL)


def test_predictions_are_those_of_a_local_run_when_a_worker_is_killed(cluster, tmp_path):
    inputs = find_inputs([str(write_images(tmp_path / "images", 400, broken=7))])
    processes, export = tmp_path / "processes", tmp_path / "export"
    processes.mkdir()
    load = functools.partial(recorded, processes, export, os.getpid())
    predict_to_file(load, inputs, tmp_path / "local.csv", Settings(features=True))
    killer = threading.Thread(target=kill_one, args=(processes, tmp_path / "ray.csv.parts"), daemon=True)
    killer.start()
    summary = predict_to_file(load, inputs, tmp_path / "ray.csv", Settings(features=True), runner="ray")
    killer.join(1)
    assert not killer.is_alive() and (summary.computed, summary.invalid) == (400, 1)
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_a_preparation_is_that_of_a_local_run(cluster, tmp_path):
    source = open_source(f"folder:{image_folder(tmp_path / 'raw', 200, 2)}")
    prepare(source, tmp_path / "local")
    prepare(source, tmp_path / "ray", runner="ray")
    local, ray = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("local", "ray"))
    assert len(local) > 4 and ray == local
