"""Logits of the residual builder against torchvision's ResNet and against the papers' blocks written in PyTorch."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_alexnet.networks.inputs import CIFAR, IMAGENET
from keras_alexnet.networks.residual.architecture import Residual
from keras_alexnet.networks.residual.builder import build_model
from keras_alexnet.networks.residual.presets import PRESETS

pytestmark = [pytest.mark.numeric, pytest.mark.medium]

WORDS = {"widths": (64, 128, 256, 512), "stem": (64, 7), "stem_stride": 2, "stem_after": "bn relu"}
WORDS |= {"shortcut": "proj_bn"}
BOTTLENECK = WORDS | {"kind": "bottleneck", "expand": 4, "blocks": (1, 1, 1, 1)}
CASES = {
    "resnet18": WORDS | {"blocks": (2, 2, 2, 2)},
    "resnet": BOTTLENECK | {"blocks": (1, 2, 1, 1)},
    "wide": BOTTLENECK | {"inner": 2.0},
    "resnext": BOTTLENECK | {"inner": 1.0, "groups": 16},
    "senet": BOTTLENECK | {"se": 16},
}


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory):
    if not importlib.util.find_spec("torchvision"):
        pytest.skip("logits are NOT compared with torchvision's: it is not installed")
    path = tmp_path_factory.mktemp("torchvision") / "resnets.npz"
    command = [sys.executable, "-m", "tests.helpers.torchvision_resnets", str(path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.subprocess
@pytest.mark.parametrize("name", CASES)
def test_logits_equal_torchvisions(torchvisions, name):
    model = build_model(name, Residual(**CASES[name]), IMAGENET, 7, 64, None)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([torchvisions.pop(f"{name}/{layer.name}/{k}") for k in range(len(layer.weights))])
    expected = torchvisions.pop(f"{name}/logits")
    assert not [array for array in torchvisions if array.startswith(f"{name}/")]  # every weight has its place
    after_preprocessing = keras.Model(model.get_layer("preprocessing").output, model.output)
    logits = after_preprocessing.predict_on_batch(torchvisions["images"])
    assert np.ptp(expected) > 0.1
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()


# Function of tests.helpers.torch_residual -> the network with six blocks and a quarter of the width.
WRITTEN_OUT = {
    "resnet": "resnet_20",
    "preactivation": "preresnet_20",
    "wide": "wrn_16_2",
    "pyramid": "pyramidnet_110_a84",
    "survey": "survey_resnet",
    "shake_shake": "shake_shake_26_2x32d",
    "ror": "ror3_110",
}


@pytest.mark.parametrize("reference, name", WRITTEN_OUT.items())
def test_logits_equal_those_of_the_papers_blocks(reference, name):
    torch = pytest.importorskip("torch", reason="logits are NOT compared with PyTorch's: it is not installed")
    from tests.helpers import torch_residual

    spec = dataclasses.replace(PRESETS[name].architecture, blocks=(torch_residual.BLOCKS,) * torch_residual.STAGES)
    model = build_model(name, spec, CIFAR, 5, 16, None, width=1 / 4)
    random = np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    images = random.normal(size=(2, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        maps = torch.from_numpy(images).permute(0, 3, 1, 2)
        expected = getattr(torch_residual, reference)(maps, torch_residual.Weights(model)).numpy()
    logits = keras.Model(model.get_layer("preprocessing").output, model.output).predict_on_batch(images)
    assert np.ptp(expected) > 0.1
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()
