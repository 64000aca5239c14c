import tracemalloc

import pytest

from tests.helpers import weight_files


@pytest.fixture(scope="module")
def caffe():
    return weight_files.small("caffe")


@pytest.fixture
def weights(caffe):
    return weight_files.randomize(caffe)


@pytest.fixture
def blobs(weights):
    return weight_files.foreign_blobs(weights, maps_towers=2)


@pytest.fixture
def cheap():
    """Fails if the test allocates more than a fraction of what its file claims. Python's and NumPy's memory counts."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < weight_files.CLAIMED / 4, f"{peak / 2**20:.0f} MiB"
