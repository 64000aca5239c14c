"""PyTorch's state_dicts (`.pth`, `.pt`): the ZIP archives that `torch.save` writes, and the plain pickles before."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from keras_alexnet.weights.formats import Layout, WeightFile

_LAYOUT = Layout("OIHW")


def read_torch(path: Path) -> WeightFile:
    """Reads a state_dict, or a checkpoint that has one as `state_dict` or `model`; nothing in it is executed.

    Raises:
      ValueError: if PyTorch is not installed, or the file is damaged or holds anything but weights.
    """
    content = _load(path)
    if isinstance(content, dict):
        content = next((content[key] for key in ("state_dict", "model") if key in content), content)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: found a {type(content).__name__}; expected a state_dict: names and tensors")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in content.items():
        name, _, part = str(key).rpartition(".")
        if part not in ("weight", "bias"):
            raise ValueError(
                f"{path}: found {str(key)!r}; expected the weight and bias of each layer, and nothing else"
            )
        layers.setdefault(name, {})[part] = _array(path, key, tensor)
    for name, parts in layers.items():
        if len(parts) != 2:
            raise ValueError(f"{path}: {name}: found only a {' and '.join(parts)}; expected a weight and a bias")
    return WeightFile(
        path, "torch", {name: [parts["weight"], parts["bias"]] for name, parts in layers.items()}, _LAYOUT
    )


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{path}: reading PyTorch's files needs PyTorch: pip install 'keras-alexnet[torch]'"
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A file that was tampered with can raise anything.
    except Exception as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}, which weights do not need; nothing in it was executed" if asked else None
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path}: found a PyTorch file that is damaged or not of weights: {reason or first_line}"
        ) from error


def _array(path: Path, key: Any, tensor: Any) -> np.ndarray:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or not tensor.is_floating_point():
        found = getattr(tensor, "dtype", type(tensor).__name__)
        raise ValueError(f"{path}: {key}: found {found}; expected a dense tensor of floating point numbers")
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
