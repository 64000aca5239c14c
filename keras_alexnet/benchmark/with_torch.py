"""PyTorch in a process that has loaded TensorFlow."""

import importlib.util
import sys


def has_torch(package: str = "torch") -> bool:
    """Whether `package` is installed; call this before it is imported.

    PyTorch's compiler would import Triton, whose library ends a process that has loaded TensorFlow (PyTorch 2.14,
    TensorFlow 2.21). Nothing here compiles, and PyTorch does without Triton if it is not installed.
    """
    found = importlib.util.find_spec(package) is not None
    if found:
        # None makes `import triton` raise ImportError.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    return found
