"""Under TowerMirroredStrategy tower 1 is on the second device, and data crosses at conv3, fc6, fc7 and fc8 only."""

from collections import Counter

import pytest

from tests.helpers.four_devices import all_on_four_devices, on_four_devices

pytestmark = pytest.mark.subprocess

# Into tower 1: what it reads of tower 0, and the gradients of what tower 0 has read of it (fc8 is on the first device).
INTO_TOWER_1 = {
    "activations into conv3": 1,
    "activations into fc6": 1,
    "activations into fc7": 1,
    "gradient of conv3": 1,
    "gradient of fc6": 1,
    "gradient of fc7": 1,
    "gradient of fc8": 1,
    # Both towers see the image, and the seeds of both are drawn where the replica is.
    "image into conv1": 1,
    "seed": 2,
    # The learning rate and its multipliers, for each of tower 1's 14 weights.
    "rate": 28,
}
INTO_TOWER_0 = {
    "activations into conv3": 1,
    "activations into fc6": 1,
    "activations into fc7": 1,
    "activations into fc8": 1,
    "gradient of conv3": 1,
    "gradient of fc6": 1,
    "gradient of fc7": 1,
}
# The guard against losses that are not finite, and what waits for it, carry no data.
NO_DATA = ("control", "not float: bool")


def crosses_at_four_layers_only(crossings: dict[str, list[str]], first: str, second: str) -> bool:
    ways = [
        Counter(kind for kind in crossings[f"{source}>{target}"] if kind not in NO_DATA)
        for source, target in ((first, second), (second, first))
    ]
    return ways == [INTO_TOWER_1, INTO_TOWER_0]


@pytest.fixture(scope="module")
def found():
    """Name -> what functions of `four_devices` return."""
    calls = {"graph 2": ("graph", "2"), "graph 4": ("graph", "4"), "fit": ("fit",)}
    return dict(zip(calls, all_on_four_devices(*calls.values()), strict=True))


@pytest.fixture(scope="module")
def one_pair(found):
    return found["graph 2"]


def test_each_tower_computes_on_its_own_device_forward_and_back(one_pair):
    operations = one_pair["operations"]
    assert set(operations) == {"CPU:0", "CPU:1"}
    only_first = operations["CPU:0"].items() - operations["CPU:1"].items()
    assert dict(only_first) == {"fc8": 1, "gradient of fc8": 2}
    assert operations["CPU:1"].items() <= operations["CPU:0"].items()
    assert operations["CPU:1"]["gradient of conv2"] == 2 and operations["CPU:1"]["gradient of lrn1"] == 1


def test_data_crosses_at_four_layers_only(one_pair):
    crossings = one_pair["crossings"]
    assert set(crossings) == {"CPU:0>CPU:1", "CPU:1>CPU:0"}
    assert crosses_at_four_layers_only(crossings, "CPU:0", "CPU:1"), crossings


def test_between_replicas_a_towers_gradients_go_to_the_same_tower_only(found):
    crossings = found["graph 4"]["crossings"]
    for first, second in (("CPU:0", "CPU:1"), ("CPU:2", "CPU:3")):
        assert crosses_at_four_layers_only(crossings, first, second), crossings
    for way in ("CPU:0>CPU:3", "CPU:3>CPU:0", "CPU:1>CPU:2", "CPU:2>CPU:1"):
        assert set(crossings.get(way, [])) <= set(NO_DATA), (way, crossings[way])
    # One a weight: the gradient there, the sum back.
    for way in ("CPU:1>CPU:3", "CPU:3>CPU:1"):
        assert len([kind for kind in crossings[way] if kind not in NO_DATA]) == 14, crossings[way]


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["conv4", "gradients", "sums"])
def test_what_is_misplaced_is_seen(broken):
    crossings = on_four_devices("graph", "2", broken)["crossings"]
    assert not crosses_at_four_layers_only(crossings, "CPU:0", "CPU:1"), crossings


def test_fit_in_user_code_places_and_trains_alike(found):
    fitted = found["fit"]
    assert fitted["difference"] < 1e-5
    for first, second in (("CPU:0", "CPU:1"), ("CPU:2", "CPU:3")):
        assert crosses_at_four_layers_only(fitted["crossings"], first, second), fitted["crossings"]
