"""The programs of examples/ run, and are short enough to be copied."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from keras_alexnet import AlexNet
from tests.helpers.backends import embedded_server
from tests.helpers.fake_service import FakeService, serving_at
from tests.helpers.tiny_training import write_photographs

EXAMPLES = Path(__file__).parent.parent / "examples"
# Seconds after which a client that has no answer is ended.
LIMIT_S = 120


def example(name):
    """The functions of an example."""
    return runpy.run_path(str(EXAMPLES / name))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    directory = tmp_path_factory.mktemp("photos")
    write_photographs(directory / "train", 4, seed=0)
    write_photographs(directory / "val", 1, seed=1)
    return directory


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """What fit_own_photographs.py writes: the .keras file, and the export."""
    directory = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)
        example("fit_own_photographs.py")["main"](
            str(photos), str(directory / "export"), width=1 / 32, epochs=1, batch_size=4
        )
    return directory


@pytest.fixture(scope="module")
def server(trained):
    with embedded_server("--model_name=alexnet", f"--model_base_path={trained / 'export'}") as running:
        yield running


@pytest.fixture
def files(photos, tmp_path):
    """A photograph, and a file that is none."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    return [next((photos / "val").glob("*/*")), broken]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.[pj][ys]")), ids=lambda path: path.name)
def test_examples_have_at_most_sixty_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.slow
def test_fit_own_photographs_exports_a_saved_model(trained):
    assert (trained / "mine.keras").is_file()
    assert (trained / "export" / "1" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_transfer_learning_exports_a_classifier(trained, photos, tmp_path, unchecked):
    example("transfer_learning.py")["main"](
        str(trained / "mine.keras"), str(photos), str(tmp_path / "export"), epochs=1, batch_size=4
    )
    loaded = tf.saved_model.load(str(tmp_path / "export" / "1"))
    assert set(loaded.signatures) >= {"serving_default", "features"}


@pytest.fixture
def unchecked(monkeypatch):
    """Exports are not loaded again in a process of their own: half the time."""
    monkeypatch.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)


@pytest.mark.slow
@pytest.mark.subprocess
def test_two_gpus_trains_on_two_devices(photos):
    # A process of its own, as the CPU cannot be split once TensorFlow has started.
    program = (
        "import runpy; example = runpy.run_path('two_gpus.py');"
        f"example['main']({str(photos)!r}, example['two_devices'](), width=1 / 32, batch_size=4)"
    )
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=EXAMPLES, env=environment, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    assert "CPU:0" in finished.stdout and "CPU:1" in finished.stdout


@pytest.mark.slow
def test_caffe_weights_are_classified(tmp_path, files, capsys):
    model = AlexNet("caffe", width=1.0, classes=1000)
    model.save_weights(tmp_path / "caffe.weights.h5")
    example("caffe_weights.py")["main"](str(tmp_path / "caffe.weights.h5"), str(files[0]))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 6
    assert all("%  n0" in line or "%  n1" in line for line in printed[1:])


def answers(server, files, *command, **environment):
    """What a client prints: one line per file."""
    command = [*command, server.address, "alexnet", *map(str, files)]
    finished = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.subprocess
def test_the_python_client_needs_only_grpc_and_protobuf(server, files, tmp_path):
    # Python imports sitecustomize when it starts.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('tensorflow', 'tensorflow_serving', 'keras', 'numpy', 'keras_alexnet', 'pipelines', 'serving'):\n"
        "    sys.modules[name] = None\n"
    )
    client = EXAMPLES / "grpc_client.py"
    first, second = answers(server, files, sys.executable, str(client), PYTHONPATH=str(tmp_path))
    assert first.startswith(str(files[0])) and len(re.findall(r" [01]\.\d{3}", first)) == 3
    assert second == f"{files[1]} cannot be decoded"


@pytest.mark.subprocess
@pytest.mark.parametrize("program", ["grpc_client.py", "grpc_client.js"])
def test_the_clients_believe_no_server(program, files):
    if program.endswith(".js") and node_modules() is None:
        pytest.skip("the JavaScript client is NOT tested")
    service, name = FakeService(), os.fspath(files[0])
    command = ["node" if program.endswith(".js") else sys.executable, EXAMPLES / program]

    def run(address):
        done = subprocess.run([*command, address, "m", name], capture_output=True, text=True, timeout=LIMIT_S)
        return done.returncode, done.stdout or done.stderr

    with serving_at(service) as address:
        scores = TensorProto(float_val=[1, 1])  # as TensorFlow Serving writes them, not as TensorFlow does
        service.outputs = {"labels": np.array([[b"\x1b[2Jb\n", b"\xff"]], object), "scores": scores}
        assert run(address) == (0, f"{name} [2Jb 1.000  \ufffd 1.000\n")
        for wrong in ({"valid": TensorProto(bool_val=[True, True])}, {"labels": None}, {"scores": None}):
            service.outputs = {"scores": scores} | wrong
            code, shown = run(address)
            assert code == 1 and shown.count("\n") == 1
    assert run(address)[0] == 1


def node_modules():
    """Where the JavaScript client's libraries are, if they are: NODE_PATH, as for Node itself."""
    found = [Path(entry) for entry in os.environ.get("NODE_PATH", "").split(os.pathsep) if entry]
    return next((path for path in found if (path / "@grpc" / "grpc-js").is_dir()), None)


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(not shutil.which("node"), reason="the JavaScript client is NOT tested: there is no Node.js")
def test_the_javascript_client_gives_the_same_answers(server, files):
    if node_modules() is None:
        pytest.skip("the JavaScript client is NOT tested: set NODE_PATH to node_modules with its two libraries")
    expected = answers(server, files, sys.executable, str(EXAMPLES / "grpc_client.py"))
    assert answers(server, files, "node", str(EXAMPLES / "grpc_client.js")) == expected
