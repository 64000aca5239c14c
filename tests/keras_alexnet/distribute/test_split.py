"""`--virtual_devices` splits the only GPU, and the CPU otherwise."""

import pytest
import tensorflow as tf

from keras_alexnet.distribute.strategies import split_device


@pytest.mark.parametrize("gpus, kind, limit", [(0, "CPU", None), (1, "GPU", 4096), (2, "CPU", None)])
def test_what_is_split(monkeypatch, gpus, kind, limit):
    devices = {"CPU": ["the CPU"], "GPU": [f"GPU {index}" for index in range(gpus)]}
    split = []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda wanted: devices[wanted])
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", lambda *given: split.append(given))
    assert split_device(3) == kind
    ((device, parts),) = split
    assert device == devices[kind][0] and [part.memory_limit for part in parts] == [limit] * 3


def test_a_started_device_is_not_split(monkeypatch):
    tf.constant(0)
    with pytest.raises(ValueError, match=r"virtual_devices=7: TensorFlow has already started with \d+ CPU device"):
        split_device(7)
