"""ResNets of torchvision with random weights: `python -m tests.helpers.torchvision_resnets FILE`.

In a process of their own: importing torchvision after TensorFlow ended with a segmentation fault (torchvision 0.29,
TensorFlow 2.21).
"""

import sys

import numpy as np
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck


class SEBottleneck(Bottleneck):
    """With torchvision's own squeeze-and-excitation after the last batch normalization."""

    def __init__(self, inplanes, planes, *arguments, **keywords):
        super().__init__(inplanes, planes, *arguments, **keywords)
        gates = torchvision.ops.SqueezeExcitation(4 * planes, planes // 4)
        self.bn3 = torch.nn.Sequential(self.bn3, gates)


CASES = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), {}),
    "resnet": (Bottleneck, (1, 2, 1, 1), {}),
    "wide": (Bottleneck, (1, 1, 1, 1), {"width_per_group": 128}),
    "resnext": (Bottleneck, (1, 1, 1, 1), {"groups": 16, "width_per_group": 4}),
    "senet": (SEBottleneck, (1, 1, 1, 1), {}),
}


def randomize(network):
    """Scales, biases and moving averages at which every layer matters."""
    generator = torch.Generator().manual_seed(1)
    for name, values in {**dict(network.named_parameters()), **dict(network.named_buffers())}.items():
        if values.ndim == 1:
            shift = 0.0 if name.endswith(("bias", "mean")) else 0.75
            values.data = torch.rand(values.shape, generator=generator) * 0.5 + shift


def array(values):
    return values.detach().numpy()


def kernel(values):
    return np.einsum("oiyx->yxio", array(values))


def norm(module):
    return [array(getattr(module, name)) for name in ("weight", "bias", "running_mean", "running_var")]


def by_our_names(network):
    """Layer name -> arrays in Keras' order and layout."""
    weights = {
        "stem_conv": [kernel(network.conv1.weight)],
        "stem_bn": norm(network.bn1),
        "fc": [array(network.fc.weight).T, array(network.fc.bias)],
    }
    for stage in range(1, 5):
        for number, block in enumerate(getattr(network, f"layer{stage}"), 1):
            prefix = f"stage{stage}_block{number}_"
            for index in (1, 2, 3):
                if hasattr(block, f"conv{index}"):
                    bn = getattr(block, f"bn{index}")
                    if isinstance(bn, torch.nn.Sequential):
                        for name, fc in (("se_reduce", bn[1].fc1), ("se_expand", bn[1].fc2)):
                            weights[prefix + name] = [kernel(fc.weight)[0, 0], array(fc.bias)]
                        bn = bn[0]
                    weights[f"{prefix}conv{index}"] = [kernel(getattr(block, f"conv{index}").weight)]
                    weights[f"{prefix}{index}_bn"] = norm(bn)
            if block.downsample is not None:
                weights[f"{prefix}shortcut_conv"] = [kernel(block.downsample[0].weight)]
                weights[f"{prefix}shortcut_bn"] = norm(block.downsample[1])
    return weights


def main(path):
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(np.float32)
    arrays = {"images": np.einsum("ncyx->nyxc", images)}
    for name, (block, blocks, options) in CASES.items():
        torch.manual_seed(1)
        network = torchvision.models.ResNet(block, blocks, num_classes=7, **options).eval()
        # Caffe's pooling, as in the prototxt of SE-ResNet-50; torchvision's has padding.
        network.maxpool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
        randomize(network)
        with torch.no_grad():
            arrays[f"{name}/logits"] = network(torch.from_numpy(images)).numpy()
        for layer, weights in by_our_names(network).items():
            arrays |= {f"{name}/{layer}/{index}": array for index, array in enumerate(weights)}
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
