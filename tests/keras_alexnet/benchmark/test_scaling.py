import pytest
import tensorflow as tf

from keras_alexnet.benchmark import scaling
from keras_alexnet.benchmark.scaling import Setup, Work, all_reduce_rate, expected, print_expectations

WORK = Work(flop=4e9, gradient_bytes=240e6)


def test_one_device_computes_only():
    found = expected(WORK, Setup(1, 128, flops=20e12, link=1e9))
    assert (found.all_reduce, found.limit) == (0, "compute")
    assert found.compute == pytest.approx(128 * 4e9 / 20e12)
    assert found.images_per_second == pytest.approx(5000)


def test_a_ring_sends_almost_twice_the_gradients():
    found = expected(WORK, Setup(4, 128, flops=20e12, link=36e9))
    assert found.all_reduce == pytest.approx(2 * 3 / 4 * 240e6 / 36e9)
    assert found.images_per_second == pytest.approx(4 * 128 / (found.compute + found.all_reduce))


@pytest.mark.parametrize(
    "setup, limit",
    [
        (Setup(8, 128, 20e12, 300e9), "compute"),
        (Setup(8, 128, 20e12, 1e9), "all-reduce"),
        (Setup(8, 128, 20e12, 300e9, input_rate=10_000), "input"),
    ],
)
def test_the_limit_is_the_slowest_resource(setup, limit):
    found = expected(WORK, setup)
    assert found.limit == limit
    assert found.images_per_second <= (setup.input_rate or float("inf"))


def test_expectations_are_printed_beside_what_was_measured(capsys):
    setups = {"single": Setup(1, 128, 20e12, 1e9), "8 of them": Setup(8, 128, 20e12, 300e9)}
    print_expectations("scaling", WORK, setups, [4321.0])
    printed = capsys.readouterr().out
    assert "5000" in printed and "4321" in printed and "8 of them" in printed


def test_the_rate_of_an_all_reduce_is_the_bytes_of_its_ring_per_second(monkeypatch):
    calls = []

    def timed(function):
        calls.append(function())
        return 0.5

    assert all_reduce_rate(tf.distribute.MirroredStrategy(["CPU:0"]), 400, timed) == 0
    assert calls == [1.0]
    monkeypatch.setattr(scaling, "ring_bytes", lambda size, devices: size)
    assert all_reduce_rate(tf.distribute.MirroredStrategy(["CPU:0"]), 400, timed) == 400 / 0.5
