"""Logits and all gradients against the same networks in PyTorch, weights carried there by our own importer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import AlexNet
from keras_alexnet.layers import TowerDropout
from tests.helpers import reference

torch = pytest.importorskip("torch", reason="logits and gradients are NOT compared with PyTorch: it is not installed")
from tests.helpers import torch_networks  # noqa: E402  (needs torch)

pytestmark = pytest.mark.numeric

# Largest difference relative to the largest absolute entry of the same tensor. PyTorch computes in float64 here, we in
# float32, whose rounding makes up to 2e-6.
TOLERANCE = 1e-5
# Rounding errors are some 3e-7 of the deviation of what a layer computes. Where a decision is closer than a few of
# these (which of two values a pool takes), the two sides may take it differently, and a gradient jumps by some 1e-3.
KINK = 3e-6
OUR_MEAN = (120.0, 110.0, 100.0)
CLASSES = {1 / 8: 100, 1.0: 1000}


def as_conv1_reads(variant: str, images: np.ndarray) -> torch.Tensor:
    published = reference.PUBLISHED_INPUT.get(variant)
    values = published(images) if published else images - np.array(OUR_MEAN)
    return torch.from_numpy(np.einsum("nyxc->ncyx", values).copy())


def two_images(variant: str, network: torch.nn.Module, size: int) -> np.ndarray:
    """Random images at which no gradient jumps."""
    random = np.random.default_rng(2012)
    images = []
    for _ in range(200):
        image = random.integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        if torch_networks.nearest_kink(network, as_conv1_reads(variant, image)) > KINK:
            images.append(image)
        if len(images) == 2:
            return np.concatenate(images)
    raise AssertionError("no images without close decisions: the weights are unfit for this test")


def in_torchs_layout(weights: dict[str, list[np.ndarray]]) -> list[np.ndarray]:
    """Weight and bias of each layer in PyTorch's order and layout, of layer -> [kernel, bias] tower after tower."""
    converted = []
    for name, arrays in weights.items():
        kernel, bias = np.concatenate(arrays[0::2], -1), np.concatenate(arrays[1::2])
        if name == "fc6":
            towers, maps = len(weights["conv5"]) // 2, len(kernel) // 36
            channel, y, x = np.ogrid[:maps, :6, :6]
            tower, in_tower = np.divmod(channel, maps // towers)
            kernel = kernel[(((tower * 6 + y) * 6 + x) * (maps // towers) + in_tower).ravel()]
        converted += [kernel.T if kernel.ndim == 2 else np.einsum("yxio->oiyx", kernel), bias]
    return converted


def of_torch(network: torch.nn.Module, images: torch.Tensor, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The logits, and the gradients of the mean cross-entropy by parameter."""
    logits = network(images)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    gradients = {name: values.grad.numpy() for name, values in network.named_parameters()}
    return {"logits": logits.detach().numpy(), **gradients}


def of_ours(model: keras.Model, images: np.ndarray, labels: np.ndarray, training: bool) -> list[np.ndarray]:
    """The same, in the same order."""
    weights = {layer.name: [w.value for w in layer.weights] for layer in model.layers if layer.weights}
    with tf.GradientTape() as tape:
        logits = model(images, training=training)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, weights)
    return [logits.numpy(), *in_torchs_layout({name: [g.numpy() for g in gs] for name, gs in gradients.items()})]


def keep_all_units(model: keras.Model, network: torch.nn.Module) -> None:
    """So that training, too, has an answer that can be foretold."""
    for layer in model.layers:
        if isinstance(layer, TowerDropout):
            layer.rate = 0.0
    for module in network.modules():
        if isinstance(module, torch_networks.Times):
            module.kept = 1.0


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("variant", torch_networks.NETWORKS)
@pytest.mark.parametrize(
    "width", [pytest.param(1 / 8, id="narrow"), pytest.param(1.0, id="full", marks=pytest.mark.slow)]
)
def test_logits_and_gradients_are_those_of_the_same_network_in_torch(variant, width, training, tmp_path):
    classes = CLASSES[width]
    network = torch_networks.with_random_weights(variant, width, classes, torch.Generator().manual_seed(2012))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = AlexNet(
        variant,
        weights=str(tmp_path / "weights.pth"),
        classes=classes,
        width=width,
        mean=None if variant in reference.PUBLISHED_INPUT else OUR_MEAN,
        classifier_activation=None,
    )
    carried = in_torchs_layout({layer.name: layer.get_weights() for layer in model.layers if layer.weights})
    for (name, values), ours in zip(network.state_dict().items(), carried, strict=True):
        np.testing.assert_array_equal(ours, values.numpy(), err_msg=name)

    network.double()
    if training:
        keep_all_units(model, network)
    images = two_images(variant, network, model.input_shape[1])
    labels = np.array([3, classes - 1])
    expected = of_torch(network, as_conv1_reads(variant, images), labels)
    differences = {}
    for (name, values), ours in zip(expected.items(), of_ours(model, images, labels, training), strict=True):
        assert np.abs(values).max() > 1e-4, f"{name}: nothing to compare"
        differences[name] = float(np.abs(ours - values).max() / np.abs(values).max())
    assert {name: found for name, found in differences.items() if found > TOLERANCE} == {}
