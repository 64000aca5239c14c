"""The networks in NumPy float64: the specification in arithmetic.

Written from the paper, from the layer definitions of the released 2012 code (nets 145, 145-half, 146, 147 and 148), and
from those of Caffe's bvlc_alexnet and bvlc_reference_caffenet and torchvision's AlexNet; from nothing else in this
project. Each network takes the image as conv1 reads it, `[N, S, S, 3]` RGB with the mean subtracted, and gives logits
`[N, classes]` at test time. Weights: layer name -> [kernel, bias, kernel, bias], tower after tower; kernels
`[kh, kw, in, out]`, rows of fc6 in tower, height, width, channel order. Maps travel as a list with one array per tower.
"""

import numpy as np

# ceil((224 - 11) / 4) + 1 = 55 modules, the last of which overhangs the image by three pixels and reads zeros there.
OVERHANG = (0, 3, 0, 3)
# The share of units that dropout keeps: at test time their outputs are multiplied by it.
KEPT = 0.5
# RGB; Caffe's own, of ILSVRC-2012, is in the order BGR.
CAFFE_MEAN = (122.679, 116.669, 104.007)
TORCHVISION_MEAN, TORCHVISION_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


def same_map_normalization(maps, k=1.0, n=5, alpha=1e-3, beta=0.75):
    """The 2012 code's `rnorm`: squares are summed over n x n pixels of one map, divided by n * n at borders too."""
    around = n // 2
    padded = np.pad(np.asarray(maps, np.float64) ** 2, ((0, 0), (around, around), (around, around), (0, 0)))
    squares = np.lib.stride_tricks.sliding_window_view(padded, (n, n), (1, 2)).sum((-2, -1))
    return maps / (k + alpha / n**2 * squares) ** beta


def max_pool(maps, size=3, stride=2, ceil=False):
    """Maximum of [N,H,W,C] over windows; with `ceil` a last window may overhang: the maximum of what it covers."""
    if ceil:
        overhang = [(-(side - size)) % stride for side in maps.shape[1:3]]
        maps = np.pad(maps, ((0, 0), (0, overhang[0]), (0, overhang[1]), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(maps, (size, size), (1, 2))[:, ::stride, ::stride]
    return windows.max((-2, -1))


def relu(values):
    return np.maximum(values, 0.0)


def each(function, towers, **arguments):
    return [function(maps, **arguments) for maps in towers]


def join(towers):
    return np.concatenate(towers, -1)


def within_towers(towers, **constants):
    """Response normalisation whose windows end where the tower's maps end."""
    return each(response_normalization, towers, **constants)


def across_towers(towers, **constants):
    """Response normalisation over the maps of all towers, as if there were no towers."""
    return np.split(response_normalization(join(towers), **constants), len(towers), -1)


def convolve_own(weights, name, towers, stride=1, padding=(0, 0, 0, 0)):
    """Convolution in which each tower reads its own maps."""
    pairs = zip(towers, weights[name][0::2], weights[name][1::2], strict=True)
    return [convolution(maps, kernel, bias, stride, padding) for maps, kernel, bias in pairs]


def convolve_all(weights, name, towers, **geometry):
    """Convolution in which each tower reads the maps of all towers."""
    return convolve_own(weights, name, [join(towers)] * (len(weights[name]) // 2), **geometry)


def dense(weights, name, rows):
    pairs = zip(weights[name][0::2], weights[name][1::2], strict=True)
    return join([rows @ kernel.astype(np.float64) + bias for kernel, bias in pairs])


def fully_connected(weights, towers, kept, activation=relu):
    """fc6 to fc8; `kept` is what dropout leaves of the outputs of fc6 and fc7 at test time."""
    rows = join([maps.reshape(len(maps), -1) for maps in towers])
    rows = kept * activation(dense(weights, "fc6", rows))
    rows = kept * activation(dense(weights, "fc7", rows))
    return dense(weights, "fc8", rows)


def conv3_to_pool5(weights, towers, activation=relu):
    towers = each(activation, convolve_all(weights, "conv3", towers, padding=(1, 1, 1, 1)))
    towers = each(activation, convolve_own(weights, "conv4", towers, padding=(1, 1, 1, 1)))
    towers = each(activation, convolve_own(weights, "conv5", towers, padding=(1, 1, 1, 1)))
    return each(max_pool, towers)


def paper_to_pool5(weights, image, activation=relu):
    towers = each(activation, convolve_all(weights, "conv1", [image], stride=4, padding=OVERHANG))
    towers = each(max_pool, within_towers(towers, k=2, alpha=1e-4))
    towers = each(activation, convolve_own(weights, "conv2", towers, padding=(2, 2, 2, 2)))
    towers = each(max_pool, within_towers(towers, k=2, alpha=1e-4))
    return conv3_to_pool5(weights, towers, activation)


def paper(weights, image):
    """Figure 2 and sections 3.1 to 3.5 as printed."""
    return fully_connected(weights, paper_to_pool5(weights, image), KEPT)


def one_gpu(weights, image):
    """Net 145-half: one tower 48-128-192-192-256, the fully connected layers whole."""
    assert all(len(layer) <= 2 for layer in weights.values())
    return paper(weights, image)


def conv6(weights, image):
    """Net 146: a sixth convolution on pool5, which reads both towers and is not followed by pooling."""
    towers = each(relu, convolve_all(weights, "conv6", paper_to_pool5(weights, image), padding=(1, 1, 1, 1)))
    return fully_connected(weights, towers, KEPT)


def tanh(weights, image):
    """Figure 1's comparison: tanh in the place of every ReLU."""
    return fully_connected(weights, paper_to_pool5(weights, image, np.tanh), KEPT, np.tanh)


def no_dropout(weights, image):
    """Section 4.2 left out: fc6 and fc7 as they are."""
    return fully_connected(weights, paper_to_pool5(weights, image), 1.0)


def no_lrn(weights, image):
    """Net 148: no normalisation."""
    towers = each(max_pool, each(relu, convolve_all(weights, "conv1", [image], stride=4, padding=OVERHANG)))
    towers = each(max_pool, each(relu, convolve_own(weights, "conv2", towers, padding=(2, 2, 2, 2))))
    return fully_connected(weights, conv3_to_pool5(weights, towers), KEPT)


def non_overlapping(weights, image):
    """Net 147: 2 x 2 pools; conv2's and conv5's paddings of 1 and 0 make the maps 55, 28, 26, 13, 11 and 6."""
    towers = each(relu, convolve_all(weights, "conv1", [image], stride=4, padding=OVERHANG))
    towers = each(max_pool, within_towers(towers, k=2, alpha=1e-4), size=2, ceil=True)
    towers = each(relu, convolve_own(weights, "conv2", towers, padding=(1, 1, 1, 1)))
    towers = each(max_pool, within_towers(towers, k=2, alpha=1e-4), size=2, ceil=True)
    towers = each(relu, convolve_all(weights, "conv3", towers, padding=(1, 1, 1, 1)))
    towers = each(relu, convolve_own(weights, "conv4", towers, padding=(1, 1, 1, 1)))
    towers = each(relu, convolve_own(weights, "conv5", towers))
    return fully_connected(weights, each(max_pool, towers, size=2, ceil=True), KEPT)


def source2012(weights, image):
    """Net 145: LRN of conv1's signed outputs, its scale of 1e-4 divided by the window's 5; same-map norm after LRN2."""
    towers = convolve_all(weights, "conv1", [image], stride=4, padding=OVERHANG)
    towers = each(relu, each(max_pool, within_towers(towers, k=2, alpha=1e-4 / 5)))
    towers = each(relu, convolve_own(weights, "conv2", towers, padding=(2, 2, 2, 2)))
    towers = each(same_map_normalization, within_towers(towers, k=2, alpha=1e-4 / 5))
    return fully_connected(weights, conv3_to_pool5(weights, each(max_pool, towers)), KEPT)


def caffe(weights, image):
    """bvlc_alexnet: conv, ReLU, LRN, pool; LRN knows no groups, and dropout leaves outputs alone at test time."""
    towers = each(relu, convolve_all(weights, "conv1", [image], stride=4))
    towers = each(max_pool, across_towers(towers, k=1, alpha=1e-4 / 5))
    towers = each(relu, convolve_own(weights, "conv2", towers, padding=(2, 2, 2, 2)))
    towers = each(max_pool, across_towers(towers, k=1, alpha=1e-4 / 5))
    return fully_connected(weights, conv3_to_pool5(weights, towers), 1.0)


def caffenet(weights, image):
    """bvlc_reference_caffenet: conv, ReLU, pool, LRN."""
    towers = each(max_pool, each(relu, convolve_all(weights, "conv1", [image], stride=4)))
    towers = across_towers(towers, k=1, alpha=1e-4 / 5)
    towers = each(max_pool, each(relu, convolve_own(weights, "conv2", towers, padding=(2, 2, 2, 2))))
    towers = across_towers(towers, k=1, alpha=1e-4 / 5)
    return fully_connected(weights, conv3_to_pool5(weights, towers), 1.0)


def torchvision(weights, image):
    """torchvision.models.alexnet: 64-192-384-256-256 in one tower, padding 2 on all sides, no normalisation."""
    towers = each(max_pool, each(relu, convolve_all(weights, "conv1", [image], stride=4, padding=(2, 2, 2, 2))))
    towers = each(max_pool, each(relu, convolve_own(weights, "conv2", towers, padding=(2, 2, 2, 2))))
    return fully_connected(weights, conv3_to_pool5(weights, towers), 1.0)


def torchvision_input(images):
    """RGB 0..255 as torchvision's conv1 reads them."""
    return (np.asarray(images, np.float64) / 255 - TORCHVISION_MEAN) / TORCHVISION_DEVIATION


def caffe_input(images):
    """RGB 0..255 as bvlc_alexnet's conv1 reads them, if its weights are in the order RGB too."""
    return np.asarray(images, np.float64) - CAFFE_MEAN


PUBLISHED_INPUT = {"caffe": caffe_input, "caffenet": caffe_input, "torchvision": torchvision_input}


def paper_network(images, mean, weights):
    """Probabilities of the paper's network for RGB images 0..255."""
    logits = paper(weights, np.asarray(images, np.float64) - mean)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
