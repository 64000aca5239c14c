"""What `import keras_alexnet` does, and does not do, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_alexnet

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.subprocess


def python(program: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    # An absolute path: the tests of foreign packages run elsewhere.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    return subprocess.run([sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True)


def succeeded(program: str, cwd: Path = ROOT, **environment: str) -> None:
    process = python(program, cwd, **environment)
    assert process.returncode == 0, process.stderr


def test_importing_has_no_side_effects():
    succeeded(
        "import os, sys\n"
        "before, stderr = dict(os.environ), os.fstat(2)\n"
        "import keras_alexnet\n"
        "loaded = {'tensorflow', 'keras', 'numpy', 'pipelines', 'serving', 'absl'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert dict(os.environ) == before and os.fstat(2) == stderr\n"
        "assert keras_alexnet.__version__ and 'AlexNet' in dir(keras_alexnet)\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "stderr",
    ["import os, sys; os.close(2); sys.stderr = None", "import io, sys; sys.stderr = io.StringIO()"],
)
def test_a_closed_or_replaced_stderr_does_not_matter(stderr):
    succeeded(f"{stderr}\nimport keras_alexnet\nkeras_alexnet.AlexNet(width=1 / 64, classes=2)")


@pytest.mark.slow
def test_the_first_public_name_registers_the_classes_with_keras():
    # test_model has the case of Keras being imported first.
    program = "assert keras.saving.get_registered_object('keras_alexnet>{}')\n"
    checks = "".join(program.format(name) for name in ("PaperSGD", "TowerConv2D", "Top1Error"))
    succeeded(f"import keras_alexnet\nkeras_alexnet.VARIANTS\nimport keras\n{checks}")


def test_another_keras_backend_is_refused_before_keras_fails(tmp_path):
    for program in ("import keras_alexnet", "from keras_alexnet.layers import TowerConv2D"):
        process = python(program, KERAS_BACKEND="jax")
        lines = process.stderr.splitlines()
        assert process.returncode == 1 and "KERAS_BACKEND=tensorflow" in lines[-1] and "'jax'" in lines[-1]
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    process = python("import keras_alexnet", KERAS_HOME=str(tmp_path))
    assert str(tmp_path / "keras.json") in process.stderr.splitlines()[-1]


FOREIGN = """
import keras_alexnet, numpy
model = keras_alexnet.AlexNet(width=1 / 64, classes=2)
keras_alexnet.PaperSGD()
for call in (lambda: keras_alexnet.export_model, lambda: keras_alexnet.preprocess_input(numpy.zeros((9, 9, 3)))):
    try:
        call()
    except ImportError as error:
        print(error)
"""


def test_a_foreign_package_pipelines_is_reported_when_ours_is_needed(tmp_path):
    foreign = tmp_path / "pipelines" / "__init__.py"
    foreign.parent.mkdir()
    foreign.write_text("")
    process = python(FOREIGN, tmp_path)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert len(lines) == 2 and all("its own package 'pipelines'" in line and str(foreign) in line for line in lines)


@pytest.mark.parametrize("module", ["keras_alexnet.train", "serving.client", "serving.server"])
def test_a_foreign_package_pipelines_ends_a_command_with_one_line(tmp_path, module):
    (tmp_path / "pipelines.py").write_text("")
    command = [sys.executable, "-m", module, "--help"]
    process = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    (line,) = process.stderr.splitlines()
    assert process.returncode == 1 and line.startswith("error: ") and str(tmp_path / "pipelines.py") in line


def test_another_keras_backend_ends_a_command_with_one_line():
    command = [sys.executable, "-m", "keras_alexnet.describe"]
    process = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True
    )
    (line,) = process.stderr.splitlines()
    assert process.returncode == 1 and line.startswith("error: ") and "'jax'" in line and "KERAS_BACKEND" in line


def test_every_public_name_is_there():
    for name in sorted(
        set(keras_alexnet.__all__) - {"load_network", "training_dataset", "evaluation_dataset", "networks"}
    ):
        assert getattr(keras_alexnet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ResNet'"):
        keras_alexnet.ResNet  # noqa: B018
