"""The paper's layers in NumPy float64, written from the paper and from nothing else in this project."""

import numpy as np


def convolution(images, kernel, bias, stride=1, padding=(0, 0, 0, 0)):
    """Plain convolution (cross-correlation) of [N,H,W,C] with [kh,kw,C,F]; padding is (top, bottom, left, right)."""
    top, bottom, left, right = padding
    padded = np.pad(np.asarray(images, np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], (1, 2))[:, ::stride, ::stride]
    return np.einsum("nyxcij,ijcf->nyxf", windows, np.asarray(kernel, np.float64), optimize=True) + bias


def response_normalization(maps, k=2.0, n=5, alpha=1e-4, beta=0.75):
    """b_i = a_i / (k + alpha * sum_{j = max(0, i - n/2)}^{min(N - 1, i + n/2)} a_j^2) ^ beta (section 3.3)."""
    maps = np.asarray(maps, np.float64)
    out = np.empty_like(maps)
    channels = maps.shape[-1]
    for i in range(channels):
        low, high = max(0, i - n // 2), min(channels - 1, i + n // 2)
        out[..., i] = maps[..., i] / (k + alpha * (maps[..., low : high + 1] ** 2).sum(-1)) ** beta
    return out


def max_pool(maps, size=3, stride=2):
    windows = np.lib.stride_tricks.sliding_window_view(maps, (size, size), (1, 2))[:, ::stride, ::stride]
    return windows.max((-2, -1))


def relu(values):
    return np.maximum(values, 0.0)


def paper_network(images, mean, weights):
    """Probabilities of the network of Figure 2, at test time.

    weights: layer name -> [kernel, bias, kernel, bias], tower after tower.
    """

    def towers(name, inputs, **geometry):
        kernels, biases = weights[name][0::2], weights[name][1::2]
        return [convolution(x, k, b, **geometry) for x, k, b in zip(inputs, kernels, biases, strict=True)]

    def dense(name, rows):
        return [rows @ k.astype(np.float64) + b for k, b in zip(weights[name][0::2], weights[name][1::2], strict=True)]

    image = np.asarray(images, np.float64) - mean
    maps = towers("conv1", [image, image], stride=4, padding=(0, 3, 0, 3))
    maps = [max_pool(response_normalization(relu(x))) for x in maps]
    maps = towers("conv2", maps, padding=(2, 2, 2, 2))
    maps = [max_pool(response_normalization(relu(x))) for x in maps]
    maps = [relu(x) for x in towers("conv3", [np.concatenate(maps, -1)] * 2, padding=(1, 1, 1, 1))]
    maps = [relu(x) for x in towers("conv4", maps, padding=(1, 1, 1, 1))]
    maps = [max_pool(relu(x)) for x in towers("conv5", maps, padding=(1, 1, 1, 1))]
    rows = np.concatenate([x.reshape(len(x), -1) for x in maps], -1)
    for name in ("fc6", "fc7"):
        rows = 0.5 * relu(np.concatenate(dense(name, rows), -1))
    (logits,) = dense("fc8", rows)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
