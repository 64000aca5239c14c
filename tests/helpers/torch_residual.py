"""Residual networks in PyTorch, each written out from its paper, with the weights of a Keras model by layer name."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)

BLOCKS, STAGES = 2, 3


class Weights:
    """Operations with the weights of the Keras layer that is named."""

    def __init__(self, model):
        self._model = model

    def _arrays(self, name):
        return [torch.from_numpy(np.array(weight)) for weight in self._model.get_layer(name).weights]

    def conv(self, x, name, stride=1):
        kernel, *bias = self._arrays(name)
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), *bias, stride=stride, padding=kernel.shape[0] // 2)

    def bn(self, x, name, epsilon=1e-5):
        scale, shift, mean, variance = self._arrays(name)
        return F.batch_norm(x, mean, variance, scale, shift, eps=epsilon)

    def logits(self, x):
        kernel, bias = self._arrays("fc")
        return x.mean((2, 3)) @ kernel + bias


def blocks():
    """(name, stride, whether it is the first of its stage)."""
    for stage in range(1, STAGES + 1):
        for block in range(1, BLOCKS + 1):
            yield f"stage{stage}_block{block}_", 2 if stage > 1 and block == 1 else 1, block == 1


def zero_channels(x, channels):
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


def resnet(x, w):
    x = w.bn(w.conv(x, "stem_conv"), "stem_bn").relu()
    for name, stride, _ in blocks():
        y = w.bn(w.conv(x, name + "conv1", stride), name + "1_bn").relu()
        y = w.bn(w.conv(y, name + "conv2"), name + "2_bn")
        x = (y + zero_channels(x[:, :, ::stride, ::stride], y.shape[1])).relu()
    return w.logits(x)


def preactivation(x, w):
    x = w.conv(x, "stem_conv")
    for name, stride, is_first in blocks():
        y = w.bn(x, name + ("preact_bn" if is_first else "0_bn")).relu()
        x = y if is_first else x
        y = w.bn(w.conv(y, name + "conv1", stride), name + "1_bn").relu()
        y = w.conv(y, name + "conv2")
        x = y + zero_channels(x[:, :, ::stride, ::stride], y.shape[1])
    return w.logits(w.bn(x, "end_bn").relu())


def wide(x, w):
    x = w.conv(x, "stem_conv")
    for name, stride, is_first in blocks():
        y = w.bn(x, name + ("preact_bn" if is_first else "0_bn")).relu()
        x = w.conv(y, name + "shortcut_conv", stride) if is_first else x
        y = w.bn(w.conv(y, name + "conv1", stride), name + "1_bn").relu()
        x = x + w.conv(y, name + "conv2")
    return w.logits(w.bn(x, "end_bn").relu())


def pyramid(x, w):
    x = w.bn(w.conv(x, "stem_conv"), "stem_bn")
    for name, stride, _ in blocks():
        y = w.conv(w.bn(x, name + "0_bn"), name + "conv1", stride)
        y = w.bn(w.conv(w.bn(y, name + "1_bn").relu(), name + "conv2"), name + "2_bn")
        x = F.avg_pool2d(x, 2) if stride == 2 else x
        x = y + zero_channels(x, y.shape[1])
    return w.logits(w.bn(x, "end_bn").relu())


def survey(x, w):
    x = w.bn(w.conv(x, "stem_conv"), "stem_bn", 2e-5)
    for name, stride, _ in blocks():
        x = F.avg_pool2d(x, 2) if stride == 2 else x
        y = w.conv(w.bn(x, name + "0_bn", 2e-5), name + "conv1")
        y = w.bn(w.conv(w.bn(y, name + "1_bn", 2e-5).relu(), name + "conv2"), name + "2_bn", 2e-5)
        x = y + zero_channels(x, y.shape[1])
    return w.logits(x.relu())


def shake_shake(x, w):
    x = w.bn(w.conv(x, "stem_conv"), "stem_bn")
    for name, stride, is_first in blocks():
        branches = []
        for letter in "ab":
            y = w.bn(w.conv(x.relu(), f"{name}{letter}conv1", stride), f"{name}{letter}1_bn")
            branches.append(w.bn(w.conv(y.relu(), f"{name}{letter}conv2"), f"{name}{letter}2_bn"))
        if is_first:
            moved = F.pad(x.relu(), (1, -1, 1, -1))
            paths = [F.avg_pool2d(path, 1, stride) for path in (x.relu(), moved)]
            paths = [w.conv(path, f"{name}shortcut_conv{index}") for index, path in enumerate(paths, 1)]
            x = w.bn(torch.cat(paths, 1), name + "shortcut_bn")
        x = x + sum(branches) / 2
    return w.logits(x.relu())


def ror(x, w):
    x = stem = stage_input = w.bn(w.conv(x, "stem_conv"), "stem_bn").relu()
    for name, stride, is_first in blocks():
        stage = name[:6]
        stage_input = x if is_first else stage_input
        y = w.bn(w.conv(x, name + "conv1", stride), name + "1_bn").relu()
        y = w.bn(w.conv(y, name + "conv2"), name + "2_bn")
        x = y + zero_channels(x[:, :, ::stride, ::stride], y.shape[1])
        if name.endswith(f"block{BLOCKS}_"):
            level2 = w.conv(stage_input, stage + "_level2_conv", 1 if stage == "stage1" else 2)
            x = x + w.bn(level2, stage + "_level2_bn")
            if stage == f"stage{STAGES}":
                x = x + w.bn(w.conv(stem, "level1_conv", 4), "level1_bn")
        x = x.relu()
    return w.logits(x)
