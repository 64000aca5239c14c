"""Networks against torchvision's, where it has the same network or its modules: copied weights, the same logits."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_alexnet import networks

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]

NAMES = (
    *("squeezenet", "squeezenet_v1_1", "densenet_bc_100_12", "vgg16_cifar"),
    *("googlenet_cifar", "resnet_18", "resnet_34"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("networks are NOT compared with torchvision's: it is not installed")
    folder = tmp_path_factory.mktemp("torchvision")
    command = [sys.executable, "-m", "tests.helpers.torchvision_networks", folder]
    subprocess.run(command, check=True, timeout=300, cwd=Path(__file__).parents[3])
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_those_of_torchvision(folder, name):
    if name.startswith("resnet"):
        pytest.importorskip("keras_hub")
    stored = np.load(folder / f"{name}.npz")
    options = {"init": "he"} if name in ("squeezenet", "squeezenet_v1_1") else {}
    images, logits = stored["images"], stored["logits"]
    model = networks.create(name, logits.shape[1], images.shape[1], classifier_activation=None, **options)
    weights = [stored[f"arr_{index}"] for index in range(len(stored) - 2)]
    for layer in in_torchvisions_order(model):
        count = len(layer.weights)
        layer.set_weights(weights[:count])
        del weights[:count]
    assert not weights and logits.std() > 0.01
    np.testing.assert_allclose(model.predict_on_batch(images), logits, rtol=0, atol=1e-4 * np.abs(logits).max())


def in_torchvisions_order(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers with weights, in the order in which torchvision defines them."""
    layers = [*model.layers, *(model.get_layer("backbone").layers if model.name.startswith("resnet") else [])]
    layers = [layer for layer in layers if layer.weights and layer.name != "backbone"]
    return sorted(layers, key=lambda layer: _place(model.name, layer.name))


def _place(network: str, layer: str) -> tuple:
    if network == "googlenet_cifar":
        # Branch by branch; Keras goes through all branches at once.
        return (layer == "fc", not layer.startswith("conv1"), layer.rpartition("_conv")[0])
    if network.startswith("resnet"):
        # The shortcut comes last in a block.
        return (layer == "fc", layer.rpartition("_")[0].replace("_0", "_3") if layer.startswith("stack") else "")
    return ()
