"""Checks Keras' backend and this project's `pipelines` package. Standard library only."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from pathlib import Path

# The commands of pyproject's [project.scripts]; `python -m` sets sys.argv[0] to "-m" while it imports a package.
_SCRIPT_PREFIX = "alexnet-"


def is_command() -> bool:
    """Whether this process is about to run a command of the project, which reports errors in one line itself."""
    program = (getattr(sys, "argv", None) or [""])[0]
    return program == "-m" or Path(program).name.startswith(_SCRIPT_PREFIX)


def check_keras_backend() -> None:
    """Checks the backend that Keras has, or is going to choose.

    Raises:
      ImportError: if it is not TensorFlow.
    """
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        backend, origin = keras.config.backend(), "the imported Keras"
    else:
        backend, origin = _configured_backend()
    if backend and backend != "tensorflow":
        raise ImportError(
            f"keras_alexnet needs Keras' TensorFlow backend, but found {backend!r} ({origin}). "
            "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )


def _configured_backend() -> tuple[str | None, str]:
    backend = os.environ.get("KERAS_BACKEND")
    if backend:
        return backend, "environment variable KERAS_BACKEND"
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        backend = json.loads(path.read_text(encoding="utf-8")).get("backend")
    return backend, str(path)


def check_pipelines() -> None:
    """Checks that `import pipelines` gives the package that is installed beside this one.

    Raises:
      ImportError: if it gives another one, such as a folder of the user's project; the message has its path.
    """
    module = sys.modules.get("pipelines")
    spec = getattr(module, "__spec__", None) if module else importlib.util.find_spec("pipelines")
    found = getattr(spec, "origin", None) or getattr(module, "__file__", None)
    # A directory without __init__.py has locations only.
    paths = [found] if found else list(getattr(spec, "submodule_search_locations", None) or [])
    directories = [Path(path).parent if found else Path(path) for path in paths]
    ours = Path(__file__).resolve().parents[1] / "pipelines"
    if directories and ours.exists() and all(directory.resolve() != ours for directory in directories):
        raise ImportError(
            f"keras_alexnet needs its own package 'pipelines', but Python finds another one first: "
            f"{paths[0]}. Rename that one, or start Python in another directory."
        )
