"""The networks, as data. `AlexNet` is built from a `Variant` and nothing else; adding a network is adding an entry.

Constants come from the paper (NIPS 2012), from the released 2012 code (net #145: layers-145.cfg, layer-params-145.cfg;
its logs agree with the paper's figures), from Caffe's bvlc_alexnet and from torchvision's alexnet.py.
"""

import dataclasses

from keras_alexnet.variants.ablations import ablations
from keras_alexnet.variants.architecture import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Layer,
    MapNormalization,
    Normalization,
    Pooling,
    Variant,
    all_sides,
)

__all__ = ["VARIANTS", "Variant", "find_variant"]


_PAPER = Variant(
    name="paper",
    summary="the network as printed in the NIPS 2012 paper",
    layers=(
        # 224 with 3 zeros at the right and the bottom is how the 2012 code reaches 55 x 55: it rounds the number of
        # windows up and reads zeros beyond the image (layer.py).
        Convolution("conv1", 96, 11, strides=4, padding=(0, 3, 0, 3), connectivity="full"),
        Activation("relu1"),
        Normalization("lrn1"),
        Pooling("pool1"),
        Convolution("conv2", 256, 5, padding=all_sides(2), bias=1.0),
        Activation("relu2"),
        Normalization("lrn2"),
        Pooling("pool2"),
        Convolution("conv3", 384, 3, padding=all_sides(1), connectivity="full"),
        Activation("relu3"),
        Convolution("conv4", 384, 3, padding=all_sides(1), bias=1.0),
        Activation("relu4"),
        Convolution("conv5", 256, 3, padding=all_sides(1), bias=1.0),
        Activation("relu5"),
        Pooling("pool5"),
        Dense("fc6", 4096),
        Activation("relu6"),
        Dropout("dropout6"),
        Dense("fc7", 4096),
        Activation("relu7"),
    ),
    head=(Dropout("dropout7"), Dense("fc8", 1000, bias=0.0, split=False)),
    sources=(
        ("conv1", "paper, sections 3.5 and 5; the zeros beyond the image: 2012 code, layer.py"),
        ("conv", "paper, sections 3.5 and 5"),
        ("relu", "paper, sections 3.1 and 3.5"),
        ("lrn", "paper, section 3.3"),
        ("pool", "paper, section 3.4"),
        ("fc", "paper, sections 3.5 and 5"),
        ("dropout", "paper, section 4.2"),
        ("towers", "paper, section 3.2"),
        ("mean", "paper, section 2"),
        ("rgb_mean", "cuda-convnet2, input_meta"),
        ("crop_size", "paper, section 4.1"),
        ("resize", "paper, section 2"),
        ("color_augmentation", "paper, section 4.1"),
        ("", "paper, section 5"),
    ),
)


def _source2012() -> Variant:
    lrn = {"alpha": 1e-4 / 5}
    same = _PAPER.changed(
        "source2012",
        "the released 2012 code, net #145, whose logs agree with the paper's figures",
        "layers-145.cfg",
        lrn1=lrn,
        lrn2=lrn,
        conv3={"stddev": 0.03},
        conv4={"stddev": 0.03},
        conv5={"stddev": 0.03},
    )
    layers = {layer.name: layer for layer in same.layers}
    first = ("conv1", "lrn1", "pool1", "relu1")
    rest = [layer for layer in same.layers if layer.name not in first]
    after_lrn2 = rest.index(layers["lrn2"]) + 1
    rest.insert(after_lrn2, MapNormalization("rnorm2", k=1.0, n=5, alpha=1e-3 / 25, beta=0.75))
    return dataclasses.replace(
        same,
        layers=(*(layers[name] for name in first), *rest),
        color_augmentation="source2012",
        bias_lr_multiplier=2.0,
        decay_biases=False,
        sources=(
            ("lrn", "layers-145.cfg: cmrnorm1 reads conv1 before its ReLU; scale 1e-4 is divided by 5 (layer.py)"),
            ("rnorm2", "layers-145.cfg: cnorm2; scale 1e-3 is divided by 25 (layer.py)"),
            ("relu1", "layers-145.cfg: the neuron sits behind maxpool1"),
            ("pool1", "layers-145.cfg: reads cmrnorm1"),
            ("conv", "layers-145.cfg: initW"),
            ("color_augmentation", "convdata_jpeg.py: standard deviations, then the crop is divided by 1.1"),
            ("bias_lr_multiplier", "layer-params-145.cfg: epsB is twice epsW"),
            ("decay_biases", "weights.cu: biases have no weight decay"),
            ("", "layers-145.cfg"),
        ),
    )


def _caffe() -> Variant:
    lrn = {"k": 1.0, "alpha": 1e-4 / 5, "across": "all"}
    fc = {"stddev": 0.005, "bias": 0.1}
    dropout = {"rescale": "training"}
    same = _PAPER.changed(
        "caffe",
        "Caffe's bvlc_alexnet, so that its weights load and agree",
        "bvlc_alexnet/train_val.prototxt",
        conv1={"padding": all_sides(0)},
        lrn1=lrn,
        lrn2=lrn,
        **{name: {"bias": 0.1} for name in ("conv2", "conv4", "conv5")},
        fc6=fc,
        fc7=fc,
        dropout6=dropout,
    )
    return dataclasses.replace(
        same,
        head=(Dropout("dropout7", rescale="training"), Dense("fc8", 1000, bias=0.0, split=False)),
        crop_size=227,
        mean_crop="crop",
        rgb_mean=(122.679, 116.669, 104.007),
        resize="warp",
        color_augmentation="none",
        bias_lr_multiplier=2.0,
        decay_biases=False,
        weight_formats=("caffe", "torch"),
        sources=(
            ("conv1", "bvlc_alexnet/train_val.prototxt: pad 0 on crop_size 227"),
            ("lrn", "bvlc_alexnet/train_val.prototxt, lrn_layer.cpp: alpha is divided by 5, k is 1, all channels"),
            ("dropout", "dropout_layer.cpp: inverted dropout"),
            ("mean_crop", "data_transformer.cpp: the mean is read at the crop's place"),
            ("rgb_mean", "ilsvrc_2012_mean.npy, mean of each channel"),
            ("resize", "examples/imagenet/create_imagenet.sh: both sides to 256"),
            ("color_augmentation", "Caffe has none"),
            ("", "bvlc_alexnet/train_val.prototxt"),
        ),
    )


def _caffenet() -> Variant:
    """Caffe's other network: it pools before it normalizes, and its biases are initialized to 1."""
    caffe = _caffe()
    ones = {name: {"bias": 1.0} for name in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    summary = "Caffe's bvlc_reference_caffenet: pooling before normalization"
    same = caffe.changed("caffenet", summary, "bvlc_reference_caffenet/train_val.prototxt", **ones)
    layers = list(same.layers)
    for index in [index for index, layer in enumerate(layers) if isinstance(layer, Normalization)]:
        layers[index : index + 2] = layers[index + 1], layers[index]
    sources = tuple(
        (subject, source.replace("bvlc_alexnet", "bvlc_reference_caffenet"))
        for subject, source in (("pool", "bvlc_alexnet/train_val.prototxt: norm reads pool"), *caffe.sources)
    )
    return dataclasses.replace(same, layers=tuple(layers), sources=sources)


def _torchvision() -> Variant:
    def convolution(number: int, filters: int, kernel_size: int, strides: int = 1) -> tuple[Layer, Layer]:
        padding = all_sides(1 if kernel_size == 3 else 2)
        name = f"conv{number}"
        return Convolution(name, filters, kernel_size, strides, padding, connectivity="full"), Activation(
            f"relu{number}"
        )

    return Variant(
        name="torchvision",
        summary='the later "one weird trick" network, known as torchvision\'s AlexNet',
        layers=(
            *convolution(1, 64, 11, strides=4),
            Pooling("pool1"),
            *convolution(2, 192, 5),
            Pooling("pool2"),
            *convolution(3, 384, 3),
            *convolution(4, 256, 3),
            *convolution(5, 256, 3),
            Pooling("pool5"),
            Dropout("dropout5", rescale="training"),
            Dense("fc6", 4096),
            Activation("relu6"),
            Dropout("dropout6", rescale="training"),
            Dense("fc7", 4096),
            Activation("relu7"),
        ),
        head=(Dense("fc8", 1000, split=False),),
        towers=1,
        init="fan_in_uniform",
        mean="constant",
        rgb_mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        input_scale=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        color_augmentation="none",
        resize="torchvision",
        weight_decay=0.0001,
        sources=(
            ("init", "torch.nn.Conv2d and Linear: kaiming_uniform with a = sqrt(5), biases in the same range"),
            ("mean", "torchvision, references/classification/presets.py"),
            ("rgb_mean", "torchvision, references/classification/presets.py"),
            ("input_scale", "torchvision, references/classification/presets.py"),
            ("color_augmentation", "torchvision, references/classification/presets.py: none"),
            ("resize", "torchvision, references/classification/presets.py; rounding: transforms/functional.py"),
            ("weight_decay", "torchvision, references/classification/README.md"),
            ("", "torchvision/models/alexnet.py"),
        ),
    )


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (_PAPER, _source2012(), _caffe(), _caffenet(), _torchvision(), *ablations(_PAPER))
}


def find_variant(name: str) -> Variant:
    """The variant called `name`.

    Raises:
      ValueError: if there is none; the message lists those there are.
    """
    if name not in VARIANTS:
        raise ValueError(f"variant={name!r}: expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]
