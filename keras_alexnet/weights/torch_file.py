"""PyTorch's state_dicts (`.pth`, `.pt`): the ZIP archives that `torch.save` writes, and the plain pickles before."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_alexnet.weights.formats import Layout, WeightFile, check_size

_LAYOUT = Layout("OIHW")

# Where training programs store the state_dict in a checkpoint (PyTorch's tutorials, Lightning, timm, torchvision,
# DeepSpeed). Of weights and their average, the weights.
_STATE_DICT_KEYS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "model_state", "module", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema"),
)
_MAX_DEPTH = 3
_CONVERT = (
    "if you trust it, load it in PyTorch with weights_only=False and save its tensors only: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


def read_torch(path: Path) -> WeightFile:
    """Reads a state_dict, or a checkpoint that contains one; nothing in the file is executed.

    Raises:
      ValueError: if PyTorch is not installed, or the file is damaged or contains more than tensors.
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    claimed, size = 0, path.stat().st_size
    for key, tensor in _state_dict(path, _load(path)).items():
        # The prefix is that of torch.nn.DataParallel.
        name, _, part = str(key).removeprefix("module.").rpartition(".")
        if part not in ("weight", "bias"):
            raise ValueError(
                f"{path}: found {str(key)!r}; expected the weight and bias of each layer and nothing else; {_CONVERT}"
            )
        _check_tensor(path, key, tensor)
        # An expanded tensor is stored once, but conversions would write it out.
        claimed += tensor.numel() * tensor.element_size()
        check_size(path, str(key), claimed, size)
        layers.setdefault(name, {})[part] = _array(tensor)
    for name, parts in layers.items():
        if len(parts) != 2:
            raise ValueError(f"{path}: {name}: found only a {' and '.join(parts)}; expected a weight and a bias")
    arrays = {name: [parts["weight"], parts["bias"]] for name, parts in layers.items()}
    return WeightFile(path, "torch", arrays, _LAYOUT)


def _state_dict(path: Path, content: Any) -> Mapping[Any, Any]:
    """The state_dict of a checkpoint, which may be a checkpoint inside another."""
    for _ in range(_MAX_DEPTH):
        candidates = [content.get(key) for key in _STATE_DICT_KEYS] if isinstance(content, Mapping) else []
        content = next((candidate for candidate in candidates if isinstance(candidate, Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        found = "an empty dictionary" if content == {} else f"a {type(content).__name__}"
        raise ValueError(f"{path}: found {found}; expected a state_dict: names and tensors")
    return content


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{path}: reading PyTorch's files needs PyTorch: pip install 'keras-alexnet[torch]'"
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged or hostile file can raise anything.
    except Exception as error:
        message = str(error)
        needed = re.search(r"GLOBAL (\S+)", message)
        if needed or "TorchScript" in message:
            found = (
                f"{needed[1]}, which is not a tensor; nothing in it was executed" if needed else "a TorchScript program"
            )
            raise ValueError(f"{path}: found a PyTorch file that contains {found}; {_CONVERT}") from error
        first_line = (message.splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: found a PyTorch file that is damaged or not of weights: {first_line}") from error


def _check_tensor(path: Path, key: Any, tensor: Any) -> None:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or not tensor.is_floating_point():
        found = getattr(tensor, "dtype", type(tensor).__name__)
        raise ValueError(f"{path}: {key}: found {found}; expected a dense tensor of floating point numbers")
    if tensor.device.type != "cpu" or not tensor.numel():
        raise ValueError(f"{path}: {key}: found a tensor of shape {tuple(tensor.shape)} without values")


def _array(tensor: Any) -> np.ndarray:
    import torch

    # NumPy has no bfloat16, nor numbers of eight bits.
    is_numpy = tensor.dtype in (torch.float16, torch.float32, torch.float64)
    return (tensor if is_numpy else tensor.float()).detach().numpy()
