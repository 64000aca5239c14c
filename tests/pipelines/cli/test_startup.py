import os

import pytest
import tensorflow as tf

from pipelines.cli import startup


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Function: what `nvidia-smi -L` prints -> installs a program that prints it."""

    def install(listed: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{listed}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])

    return install


def test_a_gpu_that_tensorflow_lacks_is_named_with_what_brings_it(nvidia_smi, monkeypatch, capsys):
    nvidia_smi("GPU 0: NVIDIA A100 (UUID: GPU-1)")
    build = {"is_cuda_build": True, "cuda_version": "99.5.1", "cudnn_version": "77"}
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    startup.warn_about_unused_gpu()
    assert capsys.readouterr().err == (
        "nvidia-smi lists 'GPU 0: NVIDIA A100', but TensorFlow finds no GPU: "
        "it cannot load libcudart.so.99, libcudnn.so.77; "
        "install them with: pip install 'tensorflow[and-cuda]'\n"
    )
    build["is_cuda_build"] = False
    startup.warn_about_unused_gpu()
    assert "WSL2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listed", "visible", "gpus"),
    [("No devices were found", None, []), ("GPU 0: A", "-1", []), ("GPU 0: A", None, ["GPU:0"])],
    ids=["no GPU", "hidden by the user", "used"],
)
def test_nothing_is_said_otherwise(nvidia_smi, monkeypatch, capsys, listed, visible, gpus):
    nvidia_smi(listed)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    startup.warn_about_unused_gpu()
    assert capsys.readouterr().err == ""
