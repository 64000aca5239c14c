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
