"""Who is who among the workers: TF_CONFIG, and a process that trains alone."""

import json

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.distribute.cluster import Cluster, has_several_workers, parse_tf_config
from keras_alexnet.distribute.rendezvous import wait_for_all


@pytest.mark.parametrize(
    "config",
    [
        None,
        "no json",
        {"cluster": {"worker": ["a:1"]}},
        {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}},
        {"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}},
        {"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}},
    ],
)
def test_a_tf_config_that_does_not_say_who_is_who_is_refused(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ValueError, match="TF_CONFIG"):
        wait_for_all(*parse_tf_config())


def test_a_chief_comes_before_the_workers(monkeypatch):
    config = {"cluster": {"chief": ["c:1"], "worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert parse_tf_config() == (["c:1", "a:1", "b:1"], 2)


@pytest.mark.parametrize(
    "config, several",
    [
        ("{}", False),
        ('{"cluster": {"ps": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "ps", "index": 0}}', False),
        ('{"cluster": {"worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}', False),
        ('{"cluster": {"worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}', True),
    ],
)
def test_auto_ignores_a_tf_config_of_something_else(monkeypatch, capsys, config, several):
    monkeypatch.setenv("TF_CONFIG", config)
    assert has_several_workers() == several
    ignored = "ps" in config or config == "{}"
    assert ("ignored" in capsys.readouterr().out) == ignored


def test_a_process_that_trains_alone_is_a_chief_without_others():
    workers = Cluster(tf.distribute.get_strategy())
    assert (workers.count, workers.index, workers.is_chief, workers.local_replicas) == (1, 0, True, 1)
    np.testing.assert_array_equal(workers.gather([1.5, 2]), [[1.5, 2]])
