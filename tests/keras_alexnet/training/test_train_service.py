import re
import subprocess
import sys

import pytest

from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def service():
    """The address of a `pipelines.service` of its own process."""
    command = [sys.executable, "-m", "pipelines.service", "--port=0", "--worker_port=0", "--host=localhost"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = re.fullmatch(r"serving training input at port (\d+)\n", process.stdout.readline())[1]
        yield f"grpc://localhost:{port}"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_training_fed_by_a_service_equals_one_that_feeds_itself(prepared, trained, service, tmp_path):
    train_and_evaluate(tiny(prepared, tmp_path / "run", data_service=service))
    # With all digits of loss and errors.
    assert (tmp_path / "run" / "metrics.csv").read_text() == (trained / "metrics.csv").read_text()


@pytest.mark.subprocess
@pytest.mark.parametrize("second", ["grpc://localhost:1", "localhost:5000"])
def test_a_service_that_cannot_be_used_is_named(prepared, service, tmp_path, second):
    with pytest.raises(ValueError, match=f"^data_service={second}: "):
        train_and_evaluate(tiny(prepared, tmp_path / "run", data_service=f"{service},{second}"))
