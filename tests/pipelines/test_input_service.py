import functools
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines import input, input_service
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, photograph, write_files

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    write_files(folder, {f"train/class{i}/0.jpg": encode(photograph(seed=i)) for i in range(14)})
    prepare(open_source(f"folder:{folder}"), folder / "prepared")
    return open_source(str(folder / "prepared"))


@pytest.mark.parametrize(("shard", "start_step"), [((0, 1), 0), ((0, 1), 2), ((1, 2), 0)])
def test_two_services_give_bit_identical_batches(source, shard, start_step):
    make = functools.partial(
        lambda shard, **options: input.training_batches(source, source.statistics, shard=shard, **options),
        batch_size=4,
        seed=3,
        start_step=start_step,
        color_augmentation="source2012",
    )
    servers = [input_service.start() for _ in range(2)]
    addresses = [dispatcher.target for dispatcher, _ in servers]
    served = list(input_service.served_batches(addresses, make, shard).as_numpy_iterator())
    own = list(make(shard).as_numpy_iterator())
    assert len(served) == len(own) == 3 - start_step
    for (images, labels), (own_images, own_labels) in zip(served, own, strict=True):
        np.testing.assert_array_equal(images, own_images)
        np.testing.assert_array_equal(labels, own_labels)


def test_crops_are_served_as_well(source):
    make = functools.partial(input.crop_batches, source, source.statistics, batch_size=4)
    servers = [input_service.start() for _ in range(2)]
    served = input_service.served_batches(
        [dispatcher.target for dispatcher, _ in servers], lambda shard: make(shard=shard)
    )
    for batch, own in zip(served, make(), strict=True):
        for array, own_array in zip(tf.nest.flatten(batch), tf.nest.flatten(own), strict=True):
            np.testing.assert_array_equal(array, own_array)


@pytest.mark.parametrize("address", ["host:5000", "grpc://host", "grpc://:5000", "grpc://host:port"])
def test_a_malformed_address_is_refused(address):
    with pytest.raises(ValueError, match=rf"^data_service={address}: expected grpc://host:port$"):
        input_service.served_batches([address], lambda shard: None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_a_service_that_is_not_there_is_one_line():
    address = f"grpc://localhost:{free_port()}"
    with pytest.raises(ValueError, match=rf"^data_service={address}: .*; expected pipelines\.service there$"):
        input_service.served_batches([address], lambda shard: None)


@pytest.mark.subprocess
def test_a_process_that_waits_for_a_lost_service_is_ended_with_one_line():
    program = (
        "import sys, time\n"
        "from pipelines import input_service\n"
        "input_service._WATCH_S, input_service._PATIENCE_S = 0.1, 0.5\n"
        "with input_service.watched([sys.argv[1]]):\n"
        "    time.sleep(60)\n"
    )
    address = f"grpc://localhost:{free_port()}"
    ended = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 1
    last_line = ended.stderr.splitlines()[-1]
    assert re.fullmatch(rf"error: --data_service={address}: .*; the newest checkpoint is kept", last_line)


def test_a_restarted_service_is_a_value_error():
    error = tf.errors.NotFoundError(None, None, "Failed to get tasks: unknown iteration")
    with (
        pytest.raises(ValueError, match=r"^data_service=grpc://a:1: Failed to get tasks"),
        input_service.watched(["grpc://a:1"]),
    ):
        raise error
    with pytest.raises(tf.errors.NotFoundError), input_service.watched([]):
        raise error


def test_a_port_in_use_is_one_line():
    dispatcher, _worker = input_service.start()
    port = int(dispatcher.target.rsplit(":", 1)[1])
    with pytest.raises(ValueError, match=rf"^port={port}: cannot listen there: .*$"):
        input_service.start(port)
