"""The messages of the gRPC client are TensorFlow's own, imported without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

import serving


@pytest.mark.subprocess
def test_a_client_loads_no_tensorflow_and_the_process_may_do_so_later(server, photograph, tmp_path):
    (tmp_path / "red.jpg").write_bytes(photograph((200, 40, 40)))
    program = """
import sys
from serving import Client
import serving.client.__main__, serving.server.__main__

address, file = sys.argv[1:]
Client("http://127.0.0.1:1").close()
with Client(address) as client:
    labels = client.classify([file])[0].labels
assert labels[0] == "red" and "tensorflow" not in sys.modules

import tensorflow as tf
from serving.client.tensors import from_proto
assert from_proto(tf.make_tensor_proto([1.5, 2.0])).tolist() == [1.5, 2.0]
assert tf.function(lambda x: x + 1)(tf.constant(1)) == 2
with Client(address) as client:
    assert client.classify([file])[0].labels == labels
"""
    command = [sys.executable, "-c", program, server.address, str(tmp_path / "red.jpg")]
    subprocess.run(command, check=True, cwd=Path(serving.__file__).parents[1])
