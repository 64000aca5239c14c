"""The flags that name a model, shared by the commands that read one. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_alexnet.networks import NAME_FORMS, parse_options
from keras_alexnet.path_errors import errors_of_path
from pipelines.cli import UsageError, define_path, define_paths, reason_of
from pipelines.cli.regular_files import MAX_TEXT_BYTES, open_file, read_lines

if TYPE_CHECKING:
    import numpy as np

    from keras_alexnet.pretrained import LoadedNetwork

# The flags count as those of the command that calls `define_model_flags`, so that its --help lists them.
flags.disclaim_key_flags()


def define_model_flags(several: bool = False) -> None:
    """Defines --model (also --model_dir, --weights), and what weight files do not contain: --network (also --variant),
    --network_options, --width, --init, --mean, --image_size, --classes, --preprocessing, --from_logits, --class_names.

    Args:
      several: whether --model may be repeated; `load_models` loads them.
    """
    model = "run directory, export, .keras file, preset of keras-hub, or weight file of any kind"
    if several:
        define_paths("model", None, f"{model}; several are averaged after the softmax", required=True)
    else:
        define_path("model", None, model, required=True)
    flags.DEFINE_alias("model_dir", "model")
    flags.DEFINE_alias("weights", "model")
    flags.DEFINE_string(
        "network",
        None,
        f"for a weight file: {NAME_FORMS}; detected from the weights of an AlexNet if possible",
    )
    flags.DEFINE_alias("variant", "network")
    define_network_options("for a weight file: ")
    flags.DEFINE_float("width", None, "for a weight file: the --width it was trained with", 0.001, 16)
    flags.DEFINE_enum("init", None, ["paper", "he"], "for a .weights.h5 file: the --init it was trained with")
    flags.DEFINE_string("mean", None, "for a weight file of an AlexNet: the mean to subtract, R,G,B or a .npy file")
    flags.DEFINE_integer(
        "image_size", None, "for a weight file, or a .keras file for images of any size: side in pixels", 1, 4096
    )
    flags.DEFINE_integer("classes", None, "for a weight file: number of classes", 1, 100_000)
    flags.DEFINE_string(
        "preprocessing",
        None,
        "for a .keras file that is not an AlexNet: none if the model contains its preprocessing; tf, torch or caffe "
        "as in keras.applications",
    )
    flags.DEFINE_boolean("from_logits", None, "for a .keras file that is not an AlexNet: whether it returns logits")
    define_path("class_names", None, "text file with one class name per line; ImageNet's wnids by default")


def define_network_options(prefix: str = "") -> None:
    """Defines --network_options, which `network_options` reads; `prefix` begins its help."""
    flags.DEFINE_string(
        "network_options",
        None,
        f"{prefix}options of the network other than width, init and mean, such as depth=20,dropout=0.5",
    )


def network_options(options: flags.FlagValues) -> dict[str, Any]:
    """The options that --network_options gives.

    Raises:
      UsageError: it has another form, or names what has a flag of its own.
    """
    try:
        given = parse_options(options.network_options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name in ("width", "init", "mean", "image_size"):
        if name in given:
            raise UsageError(f"network_options={name}={given[name]}: expected the flag --{name}={given[name]}")
    return given


@dataclasses.dataclass(frozen=True)
class ModelArguments:
    """What the flags of `define_model_flags` name. Can be pickled, for other processes that load the same network.

    Attributes:
      path, keywords: for `load_network`.
      class_names_file: value of --class_names.
    """

    path: str
    keywords: Mapping[str, Any]
    class_names_file: str | None = None

    def load(self) -> LoadedNetwork:
        """Loads the network.

        Raises:
          UsageError: the class names cannot be read, or are not one per class.
          ValueError: see `load_network`.
        """
        from keras_alexnet.pretrained import load_network

        with errors_of_path("model", self.path):
            loaded = load_network(self.path, **self.keywords)
        if self.class_names_file is None:
            return loaded
        names = _class_names(self.class_names_file)
        classes = loaded.model.output_shape[-1] if loaded.model is not None else len(loaded.class_names)
        if len(names) != classes:
            raise UsageError(f"class_names={self.class_names_file}: found {len(names)} names; expected {classes}")
        return dataclasses.replace(loaded, class_names=names, display_names=names)


def model_arguments(options: flags.FlagValues) -> ModelArguments:
    """What the flags name.

    Raises:
      UsageError: --mean or --network_options cannot be read.
    """
    return ModelArguments(options.model, _keywords(options), options.class_names)


def load_model(options: flags.FlagValues) -> LoadedNetwork:
    """Loads the network that the flags of `define_model_flags` name; see `ModelArguments.load` for the errors."""
    return model_arguments(options).load()


def load_models(options: flags.FlagValues) -> list[LoadedNetwork]:
    """Loads the networks that the flags of `define_model_flags(several=True)` name, with the same other flags.

    Raises:
      UsageError: a path is given twice.
    """
    paths = [os.path.realpath(path) for path in options.model]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise UsageError(f"model={options.model[index]}: given twice; expected different networks")
    keywords = _keywords(options)
    return [ModelArguments(path, keywords, options.class_names).load() for path in options.model]


def _keywords(options: flags.FlagValues) -> dict[str, Any]:
    names = ("network", "classes", "width", "init", "image_size", "preprocessing", "from_logits")
    given: dict[str, Any] = {name: options[name].value for name in names}
    given["mean"] = None if options.mean is None else _mean(options.mean)
    return given | network_options(options)


def _mean(text: str) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        if text.endswith(".npy"):
            with open_file(Path(text).expanduser(), MAX_TEXT_BYTES) as file:
                return np.load(file, allow_pickle=False)
        return np.array([float(part) for part in text.split(",")], np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"mean={text}: {reason_of(error)}; expected R,G,B or a .npy file") from error


def _class_names(path: str) -> tuple[str, ...]:
    try:
        lines = read_lines(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"class_names={path}: {reason_of(error)}; expected a text file") from error
    return tuple(line.strip() for line in lines if line.strip())
