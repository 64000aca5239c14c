"""Networks to evaluate and export: those that we have trained, and those that others have published weights of."""

import os
from pathlib import Path

import keras
from absl import flags

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.model import AlexNet, imagenet_wnids
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.variants import VARIANTS, find_variant
from keras_alexnet.weights.assign import assign, read_weights
from keras_alexnet.weights.compatibility import classifier, named_as_ours, same_filters, variants_of
from keras_alexnet.weights.formats import FAMILIES, WeightFile
from pipelines.cli import reason_of


def define_network_flags() -> None:
    """Flags that say which network a command works on."""
    flags.DEFINE_string("model_dir", None, "what keras_alexnet.train has written")
    flags.DEFINE_string("weights", None, "in its place: published weights; what the file is, is seen from its content")
    flags.DEFINE_enum("variant", None, list(VARIANTS), "of --weights; seen from them if not set")
    flags.DEFINE_float("width", 1.0, "of --weights: multiplies filters and units; 1 for published weights", 0.001)
    flags.DEFINE_string(
        "class_names", None, "of --weights: a text file with one name a line; ImageNet's wnids if not set"
    )


def open_network(options: flags.FlagValues) -> tuple[keras.Model, RunConfig, int]:
    """The network that the flags of `define_network_flags` name.

    Returns:
      The model (it gives logits), how to feed it and what its classes are called, and how many steps it was trained
      for here.

    Raises:
      ValueError: unless exactly one of --model_dir and --weights is given; if it cannot be read; or if the names are
        not one a class.
    """
    if (options.model_dir is None) == (options.weights is None):
        found = "neither" if options.model_dir is None else "both"
        raise ValueError(f"model_dir, --weights: found {found}; expected one of the two")
    if options.model_dir is not None:
        return load_trained(options.model_dir)
    model, _, name = pretrained_network(options.weights, options.variant, options.width, classifier_activation=None)
    description = RunConfig(
        variant=name,
        width=options.width,
        init="paper",
        class_names=_class_names(options.class_names, model.output_shape[-1]),
        dataset="",
        data_dir=None,
        resize=find_variant(name).resize,
        batch_size=0,
        seed=0,
    )
    return model, description, 0


def pretrained_network(
    weights: str | os.PathLike,
    variant: str | None = None,
    width: float = 1.0,
    classifier_activation: str | None = "softmax",
) -> tuple[keras.Model, WeightFile, str]:
    """The network of a file of weights, with as many classes as the file has.

    Args:
      weights: the file, of any kind in `keras_alexnet.weights.KINDS`.
      variant: the network's name in VARIANTS; by default the first that takes such a file.
      width: of the network.
      classifier_activation: as for `AlexNet`.

    Returns:
      The model, the file's content, and the variant's name.

    Raises:
      ValueError: if the weights cannot be read or are not the variant's.
    """
    file = read_weights(weights)
    variant = variant or _variant_of(file, width)
    model = AlexNet(variant, classes=_classes(file, variant), width=width, classifier_activation=classifier_activation)
    assign(model, file, find_variant(variant))
    return model, file, variant


def _variant_of(file: WeightFile, width: float) -> str:
    if file.kind not in FAMILIES:
        raise ValueError(f"variant is missing: {file.path} does not say of which network it is")
    agreeing = variants_of(file)
    names = [variant.name for variant in agreeing if same_filters(file, variant.scaled(width))]
    if file.kind == "torch" and len(names) > 1:
        raise ValueError(f"variant is missing: {file.path} may be of {' or '.join(names)}")
    if not names:
        # Its weights will be refused, with the reason.
        names = ["torchvision" if file.kind == "torch" else agreeing[0].name if agreeing else "caffe"]
    return names[0]


def _classes(file: WeightFile, variant: str) -> int:
    layers = named_as_ours(file, find_variant(variant))
    _, arrays = layers.get(classifier(find_variant(variant)), ("", []))
    if not arrays or not arrays[-1].size:
        raise ValueError(f"{file.path}: found no classifier, fc8; expected the whole network")
    return arrays[-1].size


def _class_names(path: str | None, classes: int) -> tuple[str, ...]:
    if path is None:
        if classes != len(imagenet_wnids()):
            raise ValueError(f"class_names is missing: the weights are of {classes} classes; expected a file of names")
        return imagenet_wnids()
    try:
        names = tuple(line.strip() for line in Path(path).read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"class_names={path}: {reason_of(error)}; expected a text file") from error
    if len(names) != classes:
        raise ValueError(f"class_names={path}: found {len(names)} names; expected {classes}, one a class")
    return names
