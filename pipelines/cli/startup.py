"""What happens before a command begins: environment variables, standard streams, and a quiet import of TensorFlow."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
import tempfile

_OLDEST_PYTHON = (3, 11)  # as in pyproject.toml

_ENVIRONMENT = {
    # TensorFlow leaves oneDNN off on processors without AVX-512, where everything then takes 1.4 times as long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Otherwise gRPC reports each failed handshake in lines of its own.
    "GRPC_VERBOSITY": "ERROR",
}

# Library -> its version in TensorFlow's build information.
_CUDA_LIBRARIES = {"libcudart.so": "cuda_version", "libcudnn.so": "cudnn_version"}


def check_python() -> None:
    """Ends the process with one line where Python is older than this project supports, as in a checkout it may be."""
    if sys.version_info < _OLDEST_PYTHON:
        found, expected = (".".join(map(str, version[:2])) for version in (sys.version_info, _OLDEST_PYTHON))
        sys.exit(f"error: Python {found} ({sys.executable}), expected {expected} or later")


def set_environment() -> None:
    """Sets the environment variables that TensorFlow reads on import, unless the user has set them."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def open_standard_streams() -> None:
    """Makes stdout and stderr usable where they were closed, or were replaced by objects without a file."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number: otherwise the next file to be opened would receive what is written to stderr.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (stays open until the process ends)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    # File and class names may have characters that the terminal's encoding lacks.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


def load_tensorflow_quietly() -> None:
    """Imports TensorFlow and lists devices with file descriptor 2 held back; shows it if that fails.

    TensorFlow 2.21 prints start-up messages (oneDNN, CUDA not found) there that ignore TF_CPP_MIN_LOG_LEVEL.
    """
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            importlib.import_module("tensorflow").config.list_physical_devices()
        except BaseException:
            os.dup2(stderr, 2)
            messages.seek(0)
            sys.stderr.write(messages.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def warn_about_unused_gpu() -> None:
    """Warns on stderr, in one line, if TensorFlow does not use the machine's NVIDIA GPU, and says what to install."""
    tensorflow = importlib.import_module("tensorflow")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not shutil.which("nvidia-smi") or tensorflow.config.list_physical_devices("GPU"):
        return
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return
    if not listed.startswith("GPU "):
        return
    found = f"nvidia-smi lists {listed.splitlines()[0].split(' (')[0]!r}, but TensorFlow finds no GPU"
    build = tensorflow.sysconfig.get_build_info()
    if sys.platform == "win32" or not build.get("is_cuda_build"):
        print(f"{found}: this TensorFlow computes on the CPU only; on Windows use WSL2 for the GPU", file=sys.stderr)
        return
    # Library files are named by the first number of their version.
    libraries = [f"{library}.{build[key].split('.')[0]}" for library, key in _CUDA_LIBRARIES.items()]
    missing = [library for library in libraries if not _can_be_loaded(library)]
    why = f"it cannot load {', '.join(missing)}" if missing else "it does not find its CUDA libraries"
    print(f"{found}: {why}; install them with: pip install 'tensorflow[and-cuda]'", file=sys.stderr)


def _can_be_loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
