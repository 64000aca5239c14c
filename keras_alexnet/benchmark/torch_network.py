"""The network in PyTorch, to be measured against."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from keras_alexnet.provenance import usable_cores
from keras_alexnet.variants.architecture import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Normalization,
    Pooling,
    Variant,
)

_ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "tanh": nn.Tanh}


class TowerNormalization(nn.Module):
    """`LocalResponseNorm` within each of several towers."""

    def __init__(self, layer: Normalization, towers: int):
        super().__init__()
        self._towers = towers
        # PyTorch divides alpha by the size of the window.
        self._norm = nn.LocalResponseNorm(layer.n, alpha=layer.n * layer.alpha, beta=layer.beta, k=layer.k)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` to the same shape."""
        count, channels, height, width = maps.shape
        split = maps.reshape(count * self._towers, channels // self._towers, height, width)
        return self._norm(split).reshape(count, channels, height, width)


def torch_network(variant: Variant, classes: int) -> nn.Sequential:
    """`variant` with its towers as groups of channels, giving logits; PyTorch's initialization.

    Raises:
      ValueError: PyTorch lacks a layer of the variant.
    """
    modules: list[nn.Module] = []
    # Of the maps, then of the vectors.
    maps = torch.zeros(1, 3, variant.crop_size, variant.crop_size)
    for layer in (*variant.layers, *variant.head):
        units = classes if layer is variant.head[-1] else None
        for module in _modules(layer, variant, maps, units):
            modules.append(module.eval())
            with torch.no_grad():
                maps = module(maps)
    return nn.Sequential(*modules)


def _modules(layer: Layer, variant: Variant, below: torch.Tensor, units: int | None) -> list[nn.Module]:
    if isinstance(layer, Convolution):
        groups = variant.towers if layer.connectivity == "grouped" else 1
        top, bottom, left, right = layer.padding
        even = top == bottom and left == right
        convolution = nn.Conv2d(
            below.shape[1],
            layer.filters,
            layer.kernel_size,
            layer.strides,
            padding=(top, left) if even else 0,
            groups=groups,
        )
        return [convolution] if even else [nn.ZeroPad2d((left, right, top, bottom)), convolution]
    if isinstance(layer, Normalization):
        return [TowerNormalization(layer, variant.towers if layer.across == "tower" else 1)]
    if isinstance(layer, Activation):
        return [_ACTIVATIONS[layer.function]()]
    if isinstance(layer, Pooling):
        return [nn.MaxPool2d(layer.size, layer.strides, ceil_mode=layer.overhang)]
    if isinstance(layer, Dropout):
        return [nn.Dropout(layer.rate)]
    if isinstance(layer, Dense):
        flat = [nn.Flatten()] if below.dim() > 2 else []
        return [*flat, nn.Linear(below.flatten(1).shape[1], units or layer.units)]
    raise ValueError(f"variant={variant.name}: PyTorch has no {type(layer).__name__}")


def torch_steps(
    variant: Variant, classes: int, images: np.ndarray, labels: np.ndarray, bfloat16: bool
) -> dict[str, Callable[[], object]]:
    """PyTorch's training step in both of its memory formats, and in bfloat16 if the processor computes in it.

    Args:
      images: float32 `[N, S, S, 3]`, mean subtracted.
      labels: int `[N]`.
    """

    torch.set_num_threads(usable_cores())

    def step(memory_format: torch.memory_format, in_bfloat16: bool) -> Callable[[], object]:
        network = torch_network(variant, classes).to(memory_format=memory_format).train()
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=0.0005, fused=True)
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
        targets = torch.from_numpy(labels).long()

        def run() -> object:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                loss = nn.functional.cross_entropy(network(inputs), targets)
            loss.backward()
            optimizer.step()
            return loss.detach().numpy()

        return run

    steps = {
        "PyTorch": step(torch.contiguous_format, False),
        "PyTorch, channels last": step(torch.channels_last, False),
    }
    return steps | ({"PyTorch, channels last, bfloat16": step(torch.channels_last, True)} if bfloat16 else {})


def torch_predictions(
    variant: Variant, classes: int, images: np.ndarray, mean: float, bfloat16: bool
) -> dict[str, Callable]:
    """PyTorch's probabilities of the centre crops of uint8 `[N, R, R, 3]`, in both memory formats, and in bfloat16."""
    edge = (images.shape[1] - variant.crop_size) // 2
    stored = torch.from_numpy(images)
    torch.set_num_threads(usable_cores())

    def predict(memory_format: torch.memory_format, in_bfloat16: bool) -> Callable[[], object]:
        network = torch_network(variant, classes).to(memory_format=memory_format).eval()

        @torch.inference_mode()
        def run() -> object:
            crops = stored[:, edge : edge + variant.crop_size, edge : edge + variant.crop_size].float() - mean
            maps = crops.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                logits = network(maps)
            return torch.softmax(logits.float(), 1).numpy()

        return run

    contenders = {
        "PyTorch": predict(torch.contiguous_format, False),
        "PyTorch, channels last": predict(torch.channels_last, False),
    }
    return contenders | ({"PyTorch, channels last, bfloat16": predict(torch.channels_last, True)} if bfloat16 else {})
