"""The published networks as PyTorch modules, at test time: convolution groups where we have towers.

They read `[N, 3, S, S]` images as conv1 reads them, and give logits. PyTorch divides LocalResponseNorm's alpha by its
size.
"""

import torch
from torch import nn


class WithinHalves(nn.Module):
    """The same operation on each half of the channels."""

    def __init__(self, operation: nn.Module):
        super().__init__()
        self.operation = operation

    def forward(self, maps):
        return torch.cat([self.operation(half) for half in maps.chunk(2, dim=1)], dim=1)


class Times(nn.Module):
    """What the printed dropout does at test time: it multiplies by the share of units that it keeps."""

    def __init__(self, kept: float):
        super().__init__()
        self.kept = kept

    def forward(self, values):
        return self.kept * values


class WithinMaps(nn.Module):
    """The 2012 code's second normalisation after conv2."""

    def forward(self, maps):
        means = nn.functional.avg_pool2d(maps**2, 5, stride=1, padding=2, count_include_pad=True)
        return maps * (1 + 1e-3 * means) ** -0.75


def pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2)


def two_towers(n, classes: int, padding, after_conv1, after_conv2, dropout: nn.Module) -> nn.Module:
    """The paper's 96-256-384-384-256, 4096-4096; `n` scales these numbers."""
    return nn.Sequential(
        *(nn.ZeroPad2d(padding), nn.Conv2d(3, n(96), 11, stride=4), *after_conv1),
        *(nn.Conv2d(n(96), n(256), 5, padding=2, groups=2), *after_conv2),
        *(nn.Conv2d(n(256), n(384), 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(n(384), n(384), 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(n(384), n(256), 3, padding=1, groups=2), nn.ReLU(), pool()),
        nn.Flatten(),
        *(nn.Linear(36 * n(256), n(4096)), nn.ReLU(), dropout),
        *(nn.Linear(n(4096), n(4096)), nn.ReLU(), dropout),
        nn.Linear(n(4096), classes),
    )


# left, right, top, bottom
OVERHANG = (0, 3, 0, 3)


def paper(n, classes: int) -> nn.Module:
    def after():
        return nn.ReLU(), WithinHalves(nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)), pool()

    return two_towers(n, classes, OVERHANG, after(), after(), Times(0.5))


def source2012(n, classes: int) -> nn.Module:
    normalization = WithinHalves(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0))
    after_conv1 = (normalization, pool(), nn.ReLU())
    after_conv2 = (nn.ReLU(), normalization, WithinMaps(), pool())
    return two_towers(n, classes, OVERHANG, after_conv1, after_conv2, Times(0.5))


def caffe(n, classes: int) -> nn.Module:
    def after():
        return nn.ReLU(), nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0), pool()

    return two_towers(n, classes, 0, after(), after(), nn.Dropout())


def caffenet(n, classes: int) -> nn.Module:
    def after():
        return nn.ReLU(), pool(), nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    return two_towers(n, classes, 0, after(), after(), nn.Dropout())


class TorchvisionAlexNet(nn.Module):
    """With torchvision's own names: features.0.weight ... classifier.6.bias."""

    def __init__(self, n, classes: int):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, n(64), 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(n(64), n(192), 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(n(192), n(384), 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(n(384), n(256), 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(n(256), n(256), 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(36 * n(256), n(4096)), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(n(4096), n(4096)), nn.ReLU()),
            nn.Linear(n(4096), classes),
        )

    def forward(self, images):
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


NETWORKS = {
    "paper": paper,
    "source2012": source2012,
    "caffe": caffe,
    "caffenet": caffenet,
    "torchvision": TorchvisionAlexNet,
}


def with_random_weights(variant: str, width: float, classes: int, generator: torch.Generator) -> nn.Module:
    """He-scaled kernels and biases that matter beside what they are added to; logits of the order of one.

    So the softmax is not saturated, and all gradients matter.
    """
    network = NETWORKS[variant](lambda count: round(count * width), classes).eval()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            deviation = (2 / layer.weight[0].numel()) ** 0.5
            layer.weight.normal_(0, deviation, generator=generator)
            layer.bias.normal_(0, 0.3 if variant == "torchvision" else 10, generator=generator)
        scale = {"paper": 15, "source2012": 15, "caffe": 100, "caffenet": 100, "torchvision": 5}[variant]
        layers[-1].weight /= scale
        layers[-1].bias /= scale
    return network


def nearest_kink(network: nn.Module, images: torch.Tensor) -> float:
    """How close the network comes to a point where its gradient jumps, in standard deviations of a layer's inputs.

    That is the least distance of a ReLU's input from 0, and of the largest value in a pool's window from the second.
    ReLUs below pools do not count: where the largest value is near 0, so is its distance from the second.
    """
    distances = []

    def at_relu(module, inputs, output):
        distances.append(inputs[0].abs().min() / inputs[0].std())

    def at_pool(module, inputs, output):
        windows = inputs[0].unfold(2, 3, 2).unfold(3, 3, 2).flatten(-2)
        largest, second = windows.topk(2).values.unbind(-1)
        distances.append((largest - second)[largest > 0].min() / inputs[0].std())

    modules = [module for module in network.modules() if isinstance(module, nn.ReLU | nn.MaxPool2d)]
    hooks = [
        module.register_forward_hook(at_pool if isinstance(module, nn.MaxPool2d) else at_relu)
        for module, above in zip(modules, [*modules[1:], None], strict=True)
        if isinstance(module, nn.MaxPool2d) or not isinstance(above, nn.MaxPool2d)
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return float(min(distances))
