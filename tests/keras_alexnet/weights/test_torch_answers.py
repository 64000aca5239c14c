"""The proof, by PyTorch's own arithmetic, that imported weights are where they belong."""

import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import load_weights
from tests.helpers import weight_files as files
from tests.helpers.weight_files import small

torch = pytest.importorskip("torch", reason="reading PyTorch's files is tested with PyTorch only: pip install torch")
nn = torch.nn

from tests.helpers.torch_files import saved, state_dict  # noqa: E402 (after the skip)


def torch_network(blobs, caffe: bool, norm_first: bool = True):
    """The network as its file's blobs define it: logits of `[N, 3, S, S]`."""
    kernels = [(torch.from_numpy(kernel.copy()), torch.from_numpy(bias)) for kernel, bias in blobs.values()]
    conv, relu, pool = nn.functional.conv2d, torch.relu, nn.MaxPool2d(3, 2, ceil_mode=caffe)
    lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0) if caffe else nn.Identity()
    groups = 2 if caffe else 1

    def network(x):
        x = relu(conv(x, *kernels[0], stride=4, padding=0 if caffe else 2))
        x = pool(lrn(x)) if norm_first else lrn(pool(x))
        x = relu(conv(x, *kernels[1], padding=2, groups=groups))
        x = pool(lrn(x)) if norm_first else lrn(pool(x))
        x = relu(conv(x, *kernels[2], padding=1))
        x = relu(conv(x, *kernels[3], padding=1, groups=groups))
        x = pool(relu(conv(x, *kernels[4], padding=1, groups=groups)))
        x = torch.flatten(x, 1)
        for kernel, bias in kernels[5:7]:
            x = relu(nn.functional.linear(x, kernel, bias))
        return nn.functional.linear(x, *kernels[7])

    return network


def lively(model):
    """Random weights under which all layers matter and no number explodes."""
    for layer in model.layers:
        layer.set_weights(
            [
                files.random.normal(size=w.shape) * (0.3 if w.ndim == 1 else 1.4 / np.sqrt(w[..., 0].size))
                for w in layer.get_weights()
            ]
        )
    return files.weights_of(model)


@pytest.mark.parametrize("name", ["caffe", "caffenet"])
def test_a_caffemodel_answers_as_caffes_network_does(tmp_path, name):
    model = small(name, classifier_activation=None)
    blobs = files.foreign_blobs(lively(model), 2)
    between = files.ALEXNET if name == "caffe" else files.CAFFENET
    path = files.caffemodel(tmp_path / "w", blobs, between)
    files.randomize(model)
    load_weights(model, path, VARIANTS[name])
    images = files.random.uniform(0, 255, (2, 227, 227, 3)).astype(np.float32)
    # Blue first, minus Caffe's mean of each channel.
    caffes = images[..., ::-1] - np.float32([104.007, 116.669, 122.679])
    network = torch_network(blobs, caffe=True, norm_first=name == "caffe")
    expected = network(torch.from_numpy(caffes.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(
        model.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


def test_torchvisions_weights_answer_as_torchvisions_network_does(tmp_path):
    model = small("torchvision", classifier_activation=None)
    weights = lively(model)
    path = saved(tmp_path / "w", state_dict(weights, 1))
    blobs = files.foreign_blobs(weights, 1, bgr=False)
    files.randomize(model)
    load_weights(model, path, VARIANTS["torchvision"])
    images = files.random.uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
    normal = (images / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    expected = torch_network(blobs, caffe=False)(torch.from_numpy(normal.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(
        model.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )
