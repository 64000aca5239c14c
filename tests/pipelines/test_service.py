import functools

import numpy as np
import pytest
from image_files import encode, photograph, write_files

from pipelines import input, service
from pipelines.command import InputError
from pipelines.prepare import prepare
from pipelines.sources import open_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    write_files(folder, {f"train/class{i}/0.jpg": encode(photograph(seed=i)) for i in range(14)})
    prepare(open_source(f"folder:{folder}"), folder / "prepared")
    return open_source(str(folder / "prepared"))


@pytest.mark.parametrize(("shard", "start_step"), [((0, 1), 0), ((0, 1), 2), ((1, 2), 0)])
def test_two_services_give_the_batches_of_this_machine_bit_for_bit(source, shard, start_step):
    make = functools.partial(
        lambda shard, **options: input.training_batches(source, source.statistics, shard=shard, **options),
        batch_size=4,
        seed=3,
        start_step=start_step,
        color_shift="source2012",
    )
    servers = [service.start() for _ in range(2)]
    addresses = [dispatcher.target for dispatcher, _ in servers]
    served = list(service.served_batches(addresses, make, shard).as_numpy_iterator())
    own = list(make(shard).as_numpy_iterator())
    assert len(served) == len(own) == 3 - start_step
    for (images, labels), (own_images, own_labels) in zip(served, own, strict=True):
        np.testing.assert_array_equal(images, own_images)
        np.testing.assert_array_equal(labels, own_labels)


def test_an_address_without_its_protocol_is_refused():
    with pytest.raises(InputError, match=r"^--data_service=host:5000: expected grpc://host:port$"):
        service.served_batches(["host:5000"], lambda shard: None)


def test_a_port_in_use_is_one_line():
    dispatcher, _worker = service.start()
    port = int(dispatcher.target.rsplit(":", 1)[1])
    with pytest.raises(InputError, match=rf"^--port={port}: cannot listen there: .*$"):
        service.start(port)
