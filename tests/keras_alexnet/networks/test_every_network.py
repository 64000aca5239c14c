"""Every network passes the same test: in full for one network of each family, for the rest in `make test-all`."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from keras_alexnet import VARIANTS, networks
from tests.helpers.network_test_case import check_network

FULL = (
    *("paper", "keras.applications.MobileNet", "convnet_13pct_lrn", "resnet_20"),
    *("squeezenet_v1_1", "lenet5"),
)
# Images have 64 pixels, or the network's size if that is smaller. These need more (nin_imagenet: for its last ReLU;
# inception_v4: so that the last batch normalization has more than one pixel).
SMALLEST = {"nin_imagenet": 131, "Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75, "NASNetLarge": 331}
SMALLEST |= {"NASNetMobile": 224, "inception_v4": 139}


@pytest.fixture(scope="module")
def processes():
    """Processes that end after four networks: Keras keeps the training graph of every model, 19 GB in all."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=4) as pool:
        yield pool


def arguments(name):
    constructor = name.removeprefix("keras.applications.")
    if name in VARIANTS:
        return {"width": 1 / 32}
    size = SMALLEST.get(constructor, min(64, networks.find(name).image_size))
    # The published initialization can leave the last ReLU of a network without any output above 0.
    options = {"init": "he"} if "init" in networks.find(name).options else {}
    options |= {"width": 1 / 8} if "width" in networks.find(name).options else {}
    return {"image_size": size} | ({"alpha": 0.25} if constructor == "MobileNet" else options)


@pytest.mark.subprocess
@pytest.mark.parametrize("name", FULL)
def test_one_network_of_each_family(tmp_path, name):
    check_network(tmp_path, name, **arguments(name))


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("name", [name for name in networks.names() if name not in FULL])
def test_every_other_network(tmp_path, name, processes):
    if name in ("resnet_18", "resnet_34"):
        pytest.importorskip("keras_hub")
    processes.submit(check_network, tmp_path, name, **arguments(name)).result()
