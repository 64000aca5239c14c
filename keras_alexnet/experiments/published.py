"""What the survey and the networks' authors report, for the comparison's page.

References: the survey is a Japanese overview of convolutional networks (2017). Its runs on CIFAR take 300 epochs of
batch 128, learning rate 0.1 divided by 10 at epochs 150 and 225, crops of images padded by 4 pixels and horizontal
flips; those on ImageNet 90 epochs of batch 256. The authors' numbers are those of their papers or repositories with
their own recipes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Top-1 errors in percent; None where nothing is reported for just this network.

    Attributes:
      survey: in the survey's table, for the network that it calls by this name.
      survey_hours: of the survey's training, on one Quadro P5000; its table does not say which of the two CIFARs.
      authors: by the network's authors.
    """

    survey: float | None = None
    survey_hours: float | None = None
    authors: float | None = None


# Errors on CIFAR-10 and on CIFAR-100, and hours.
_SURVEY_CIFAR: dict[str, tuple[float, float, float]] = {
    "vgg16_cifar": (6.0, 27.4, 2.9),
    "googlenet_cifar": (9.3, 31.7, 4.6),
    "squeezenet_cifar": (10.8, 36.0, 1.8),
    "resnext_29_8x64d": (4.5, 20.7, 27),
    "shake_shake_26_2x32d": (3.0, 18.4, 77.8),
    "shake_shake_26_2x32d+cutout=16": (2.7, 17.5, 76.5),
    "survey_resnet": (5.3, 25.9, 9.2),
    "survey_resnet+survival=0.5": (5.2, 23.5, 12),
    "survey_resnet+swapout=0.5": (6.0, 26.8, 42.0),
    "survey_resnet+cutout=16": (3.5, 25.0, 13.1),
    "survey_wide_resnet": (4.8, 20.7, 19.6),
    "survey_pyramidnet": (4.3, 22.0, 15.6),
    "survey_senet": (4.8, 24.2, 36.7),
    "survey_densenet": (5.1, 24.6, 19.6),
    "fractalnet_20": (5.0, 26.0, 5.1),
}
# Errors on CIFAR-10 and on CIFAR-100.
_AUTHORS_CIFAR: dict[str, tuple[float | None, float | None]] = {
    "convnet_13pct": (13.0, None),
    "convnet_11pct": (11.0, None),
    "nin": (8.81, None),
    "resnet_20": (8.75, None),
    "resnet_32": (7.51, None),
    "resnet_44": (7.17, None),
    "resnet_56": (6.97, None),
    "resnet_110": (6.43, None),
    "se_resnet_110": (5.21, None),
    "preresnet_110": (6.37, None),
    "preresnet_164": (5.46, 24.33),
    "wrn_40_4": (4.53, None),
    "wrn_28_10": (4.00, 19.25),
    "wrn_28_10+dropout=0.3": (3.89, 18.85),
    "pyramidnet_110_a84": (4.27, 20.21),
    "pyramidnet_110_a270": (3.73, 18.25),
    "resnext_29_8x64d": (3.65, 17.77),
    "resnext_29_16x64d": (3.58, 17.31),
    "shake_shake_26_2x32d": (3.55, None),
    "shake_shake_26_2x96d": (2.86, None),
    "shake_shake_26_2x96d+cutout=16": (2.56, None),
    "shakedrop_pyramidnet_110_a270": (None, 15.78),
    "stochastic_depth_110": (5.25, None),
    "swapout_20_w4": (5.09, None),
    "densenet_40_12": (5.24, 24.42),
    "densenet_bc_100_12": (4.51, 22.27),
    "densenet_bc_190_40": (3.46, 17.18),
    "fractalnet_20": (4.60, 23.73),
}
APPLICATIONS = "keras.applications."
# Errors on ImageNet: the survey's and the authors'. All networks of the survey from keras.applications are keys.
_IMAGENET: dict[str, tuple[float | None, float | None]] = {
    "paper": (49.9, 40.7),
    "conv6": (None, 39.0),
    "caffe": (None, 42.9),
    "caffenet": (None, 42.6),
    "zfnet": (None, 38.4),
    "nin_imagenet": (None, 40.64),
    "inception_v4": (None, 20.0),
    "squeezenet": (44.2, 42.5),
    "se_resnet50": (None, 23.29),
    "resnet_18": (30.4, 27.88),
    "resnet_34": (26.7, 25.03),
    f"{APPLICATIONS}VGG16": (26.5, 27.0),
    f"{APPLICATIONS}VGG19": (None, 27.3),
    f"{APPLICATIONS}InceptionV3": (22.8, 21.2),
    f"{APPLICATIONS}InceptionResNetV2": (None, 19.9),
    f"{APPLICATIONS}ResNet50": (None, 24.7),
    f"{APPLICATIONS}ResNet101": (None, 23.6),
    f"{APPLICATIONS}ResNet152": (21.9, 23.0),
    f"{APPLICATIONS}ResNet50V2": (None, None),
    f"{APPLICATIONS}ResNet101V2": (None, None),
    f"{APPLICATIONS}ResNet152V2": (None, None),
    f"{APPLICATIONS}DenseNet121": (None, 25.02),
    f"{APPLICATIONS}DenseNet169": (None, 23.80),
    f"{APPLICATIONS}DenseNet201": (23.5, 22.58),
    f"{APPLICATIONS}MobileNet": (None, 29.4),
    f"{APPLICATIONS}Xception": (None, 21.0),
    f"{APPLICATIONS}NASNetMobile": (None, 26.0),
    f"{APPLICATIONS}NASNetLarge": (None, 17.3),
}


def _cifar(column: int) -> dict[str, Published]:
    found = {network: Published(authors=errors[column]) for network, errors in _AUTHORS_CIFAR.items()}
    for network, row in _SURVEY_CIFAR.items():
        authors = found.get(network, Published()).authors
        found[network] = Published(survey=row[column], survey_hours=row[2], authors=authors)
    return found


IMAGENET = {network: Published(survey, None, authors) for network, (survey, authors) in _IMAGENET.items()}
# By the name of the dataset in file names. Imagenette is a part of ImageNet, for which nothing is published.
PUBLISHED: dict[str, dict[str, Published]] = {
    "cifar10": _cifar(0),
    "cifar100": _cifar(1),
    "imagenette": IMAGENET,
    "imagenet2012": IMAGENET,
}

_NO_PROBABILITY, _NO_SIZE = "the survey does not give the probability", "the survey does not give the size"
_NO_IMAGE_SIZE = "the survey does not say what size of image it was given"
_NO_WIDTH = "the survey does not give the width"
_SHORTCUTS = "authors: ten crops, shortcuts without parameters"
REMARKS: dict[str, str] = {
    "convnet_11pct": "AlexNet's row: the network of Krizhevsky et al. for CIFAR-10, on crops of 24 pixels",
    "lenet5": "grey images",
    "resnext_29_8x64d": "the survey does not say which ResNeXt",
    "shake_shake_26_2x32d": _NO_WIDTH,
    "shake_shake_26_2x32d+cutout=16": f"{_NO_WIDTH} and the size",
    "survey_resnet": "13.2 hours in the survey's table of regularizers",
    "survey_resnet+survival=0.5": _NO_PROBABILITY,
    "survey_resnet+swapout=0.5": _NO_PROBABILITY,
    "survey_resnet+cutout=16": _NO_SIZE,
    "googlenet_cifar": _NO_IMAGE_SIZE,
    "squeezenet_cifar": _NO_IMAGE_SIZE,
    "paper": "the survey's has no groups; authors: ten crops",
    "conv6": "authors: ten crops, pre-trained on the 2011 release",
    "zfnet": "authors: the number of crops is not verified",
    "googlenet": "the authors report a top-5 error only: 10.07 %",
    "resnet_18": _SHORTCUTS,
    "resnet_34": _SHORTCUTS,
    f"{APPLICATIONS}VGG16": "authors: whole images at one scale",
    f"{APPLICATIONS}VGG19": "authors: whole images at one scale",
    f"{APPLICATIONS}NASNetMobile": "NASNet-A (4 @ 1056)",
    f"{APPLICATIONS}NASNetLarge": "NASNet-A (6 @ 4032)",
}

# What the survey says, and the two networks of CIFAR-10's comparison that show it: the second is compared with the
# first.
SURVEY_REMARKS: tuple[tuple[str, str, str], ...] = (
    ("wider networks are the most accurate, at 1.5 to 2 times the training time", "resnet_20", "wrn_16_2"),
    ("PyramidNet is as accurate as wide networks, at 1.5 to 2 times the time", "resnet_110", "pyramidnet_110_a84"),
    ("DenseNet is more accurate than ResNet, at twice the time", "resnet_20", "densenet_40_12+width=0.5"),
    ("squeeze-and-excitation is more accurate, at four times the time", "resnet_20", "se_resnet_20"),
    ("stochastic depth is as accurate, in less time", "resnet_20", "resnet_20+survival=0.5"),
    ("cutout lowers every network's error, in the same time", "resnet_20", "resnet_20+cutout=16"),
    ("cutout adds to shake-shake", "shake_shake_26_2x32d", "shake_shake_26_2x32d+cutout=16"),
    ("shake-shake lowers the error most, at six times the time", "resnet_110", "shake_shake_26_2x32d"),
    ("swapout is not better than its baseline", "preresnet_20", "preresnet_20+swapout=0.5"),
)
# Those that the learning curve of a network of CIFAR-10's comparison shows.
SURVEY_CURVE_REMARKS: tuple[tuple[str, str], ...] = (
    ("GoogLeNet overfits: its test loss rises late", "googlenet_cifar"),
    ("FractalNet remains noisy late in training", "fractalnet_20"),
)
# Those that no training shows: the remark, where to look, and what is found.
SURVEY_OTHER_REMARKS: tuple[tuple[str, str, str], ...] = (
    (
        "swapout needs the average of stochastic passes when it predicts",
        "`evaluate --stochastic_passes=30` of a network with swapout",
        "not measured here; exports have expected values",
    ),
    (
        "LeNet as usually implemented is not LeNet",
        "lenet5",
        "confirmed: 60,000 parameters as published, 61,706 with all connections and a usual output layer",
    ),
    (
        "AlexNet as usually implemented is not AlexNet: its groups are missing",
        "paper",
        "confirmed: 60.97 million parameters with groups, 62.38 without",
    ),
    ("the Neocognitron's activation is a ReLU", "its formula", "confirmed: max(x, 0); no such network is here"),
)

# ImageNet: the network; top-1 and top-5 errors and millions of parameters that the survey prints; the right number of
# parameters, and what the printed one is.
SURVEY_IMAGENET: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("AlexNet", "49.9 %", "26.2 %", "62.0", "60.97", "62.38 without groups"),
    ("VGG-16", "26.5 %", "8.4 %", "138.0", "138.36", ""),
    ("SqueezeNet", "44.2 %", "21.3 %", "0.7", "1.25", "0.74 with 10 classes"),
    ("Inception-v3", "22.8 %", "6.6 %", "22.5", "23.82", ""),
    ("ResNet-18", "30.4 %", "10.7 %", "0.2", "11.69", "CIFAR's ResNet-20: 0.27"),
    ("ResNet-34", "26.7 %", "8.6 %", "0.5", "21.80", "CIFAR's ResNet-32: 0.46"),
    ("ResNet-152", "21.9 %", "6.1 %", "1.7", "60.19", "CIFAR's ResNet-110: 1.73"),
    ("DenseNet-201", "23.5 %", "6.6 %", "15.0", "20.01", ""),
)
