"""Networks of torchvision, or made of its modules, with random weights: their weights and logits in files.

Run as a process of its own, `python -m tests.helpers.torchvision_networks FOLDER`, because importing torchvision after
TensorFlow can crash.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import densenet, resnet, squeezenet, vgg
from torchvision.models.googlenet import BasicConv2d, GoogLeNet

from keras_alexnet.networks import inputs

CLASSES = 7


def densenet_bc_100_12() -> nn.Module:
    network = densenet.DenseNet(12, (16, 16, 16), 24, num_classes=CLASSES)
    # CIFAR's stem is a 3 x 3 convolution only.
    network.features.conv0 = nn.Conv2d(3, 24, 3, padding=1, bias=False)
    for left_out in ("norm0", "relu0", "pool0"):
        setattr(network.features, left_out, nn.Identity())
    return network


def vgg16_cifar() -> nn.Module:
    features = vgg.vgg16_bn().features
    for module in features:
        if isinstance(module, nn.Conv2d):
            module.bias = None
    return nn.Sequential(features, nn.Flatten(), nn.Linear(512, CLASSES))


class GoogLeNetForCifar(nn.Module):
    """Torchvision's modules, with 5 x 5 convolutions in the third branch."""

    def __init__(self) -> None:
        super().__init__()
        whole = GoogLeNet(aux_logits=False, init_weights=False)
        self.stem = BasicConv2d(3, 192, kernel_size=3, padding=1)
        names = ("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b")
        self.groups = nn.ModuleList(nn.Sequential(*(getattr(whole, f"inception{n}") for n in group)) for group in names)
        for module in (module for group in self.groups for module in group):
            reduced, expanded = module.branch3[0].conv.out_channels, module.branch3[1].conv.out_channels
            module.branch3[1].conv = nn.Conv2d(reduced, expanded, 5, padding=2, bias=False)
        self.pool, self.fc = nn.MaxPool2d(3, 2, ceil_mode=True), nn.Linear(1024, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-5

    def forward(self, images):
        maps = self.groups[0](self.stem(images))
        for group in self.groups[1:]:
            maps = group(self.pool(maps))
        return self.fc(maps.mean((2, 3)))


# Name -> network, preprocessing, side of the images. 96 pixels leave SqueezeNet windows that overhang.
HE = inputs.Preprocessing(inputs.CAFFE.mean, 1 / 64)
NETWORKS = {
    "squeezenet": (lambda: squeezenet.SqueezeNet("1_0", CLASSES), HE, 96),
    "squeezenet_v1_1": (lambda: squeezenet.SqueezeNet("1_1", CLASSES), HE, 96),
    "densenet_bc_100_12": (densenet_bc_100_12, inputs.CIFAR, 32),
    "vgg16_cifar": (vgg16_cifar, inputs.CIFAR, 32),
    "googlenet_cifar": (GoogLeNetForCifar, inputs.CIFAR, 32),
    "resnet_18": (lambda: resnet.ResNet(resnet.BasicBlock, [2, 2, 2, 2], CLASSES), inputs.IMAGENET, 65),
    "resnet_34": (lambda: resnet.ResNet(resnet.BasicBlock, [3, 4, 6, 3], CLASSES), inputs.IMAGENET, 65),
}


def randomize(network: nn.Module) -> None:
    """Weights under which signals keep their size, and statistics of batch normalization that are not 0 and 1."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.7, 1.3)
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values, 0, 0.1)


def arrays(module: nn.Module) -> list[np.ndarray]:
    """A module's weights, as Keras' layer of the same kind has them."""
    if isinstance(module, nn.BatchNorm2d):
        tensors = [module.weight, module.bias, module.running_mean, module.running_var]
    elif isinstance(module, nn.Conv2d | nn.Linear):
        kernel = module.weight.permute(2, 3, 1, 0) if module.weight.ndim == 4 else module.weight.T
        tensors = [kernel] if module.bias is None else [kernel, module.bias]
    else:
        tensors = []
    return [tensor.detach().numpy() for tensor in tensors]


def main(folder: Path) -> None:
    for name, (build, preprocessing, side) in NETWORKS.items():
        network = build().eval()
        randomize(network)
        images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
        inputs = ((images - preprocessing.mean) * preprocessing.scale).astype(np.float32)
        with torch.no_grad():
            logits = network(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()
        weights = [array for module in network.modules() for array in arrays(module)]
        np.savez(folder / f"{name}.npz", *weights, images=images, logits=logits)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
