"""What the survey and the networks' authors report, for the comparison's page.

References: the survey is a Japanese overview of convolutional networks (2017), whose runs take 300 epochs of batch 128,
learning rate 0.1 divided by 10 at epochs 150 and 225, crops of images padded by 4 pixels and horizontal flips. The
authors' numbers are those of their papers or repositories with their own recipes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Top-1 errors on CIFAR-10 in percent; None where nothing is reported for just this network.

    Attributes:
      survey: in the survey's table, for the network that it calls by this name.
      authors: by the network's authors.
    """

    survey: float | None = None
    authors: float | None = None


CIFAR10: dict[str, Published] = {
    "convnet_13pct": Published(authors=13.0),
    "convnet_11pct": Published(authors=11.0),
    "vgg16_cifar": Published(survey=6.0),
    "googlenet_cifar": Published(survey=9.3),
    "squeezenet_cifar": Published(survey=10.8),
    "resnet_20": Published(authors=8.75),
    "resnet_32": Published(authors=7.51),
    "resnet_44": Published(authors=7.17),
    "resnet_56": Published(authors=6.97),
    "resnet_110": Published(authors=6.43),
    "se_resnet_110": Published(authors=5.21),
    "preresnet_110": Published(authors=6.37),
    "preresnet_164": Published(authors=5.46),
    "wrn_40_4": Published(authors=4.53),
    "wrn_28_10": Published(authors=4.00),
    "pyramidnet_110_a84": Published(authors=4.27),
    "pyramidnet_110_a270": Published(authors=3.73),
    "resnext_29_8x64d": Published(authors=3.65),
    "resnext_29_16x64d": Published(authors=3.58),
    "densenet_40_12": Published(authors=5.24),
    "densenet_bc_100_12": Published(authors=4.51),
    "densenet_bc_190_40": Published(authors=3.46),
    "fractalnet_20": Published(survey=5.0, authors=4.60),
    "survey_resnet": Published(survey=5.3),
    "survey_resnet+survival=0.5": Published(survey=5.2),
    "survey_resnet+swapout=0.5": Published(survey=6.0),
    "survey_resnet+cutout=16": Published(survey=3.5),
    "survey_wide_resnet": Published(survey=4.8),
    "survey_pyramidnet": Published(survey=4.3),
    "survey_senet": Published(survey=4.8),
    "survey_densenet": Published(survey=5.1),
}

# Of networks for small images, in the order of the page: those without a row are "recipe only" there.
REMARKS: dict[str, str] = {
    "convnet_11pct": "AlexNet's row: the network of Krizhevsky et al. for CIFAR-10, on crops of 24 pixels",
    "lenet5": "grey images",
    "survey_resnet+survival=0.5": "the survey does not give the probability",
    "survey_resnet+swapout=0.5": "the survey does not give the probability",
    "survey_resnet+cutout=16": "the survey does not give the size",
    "googlenet_cifar": "the survey does not say what size of image it was given",
    "squeezenet_cifar": "the survey does not say what size of image it was given",
}

# What the survey says, and the two networks of CIFAR-10's comparison that show it: the second is compared with the first.
SURVEY_REMARKS: tuple[tuple[str, str, str], ...] = (
    ("wider networks are the most accurate, at 1.5 to 2 times the training time", "resnet_20", "wrn_16_2"),
    ("PyramidNet is as accurate as wide networks, at 1.5 to 2 times the time", "resnet_110", "pyramidnet_110_a84"),
    ("DenseNet is more accurate than ResNet, at twice the time", "resnet_20", "densenet_40_12+width=0.5"),
    ("squeeze-and-excitation is more accurate, at four times the time", "resnet_20", "se_resnet_20"),
    ("stochastic depth is as accurate, in less time", "resnet_20", "resnet_20+survival=0.5"),
    ("cutout lowers every network's error, in the same time", "resnet_20", "resnet_20+cutout=16"),
    ("shake-shake lowers the error most, at six times the time", "resnet_110", "shake_shake_26_2x32d"),
    ("swapout is not better than its baseline", "preresnet_20", "preresnet_20+swapout=0.5"),
)

# Parameters in millions: the network, what the survey prints, the right number, and what the printed one is.
SURVEY_PARAMETERS: tuple[tuple[str, str, str, str], ...] = (
    ("AlexNet", "62.0", "60.97", "62.38 without groups"),
    ("VGG-16", "138.0", "138.36", ""),
    ("SqueezeNet", "0.7", "1.25", "0.74 with 10 classes"),
    ("Inception-v3", "22.5", "23.82", ""),
    ("ResNet-18", "0.2", "11.69", "CIFAR's ResNet-20: 0.27"),
    ("ResNet-34", "0.5", "21.80", "CIFAR's ResNet-32: 0.46"),
    ("ResNet-152", "1.7", "60.19", "CIFAR's ResNet-110: 1.73"),
    ("DenseNet-201", "15.0", "20.01", ""),
)
