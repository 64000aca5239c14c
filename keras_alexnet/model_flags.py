"""The flags that name a model, shared by the commands that read one. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_alexnet.variants import VARIANTS
from pipelines.cli import UsageError, define_path, reason_of
from pipelines.regular_files import MAX_TEXT_BYTES, open_file, read_lines

if TYPE_CHECKING:
    import numpy as np

    from keras_alexnet.pretrained import LoadedNetwork

# The flags count as those of the command that calls `define_model_flags`, so that its --help lists them.
flags.disclaim_key_flags()


def define_model_flags() -> None:
    """Defines --model (also --model_dir, --weights), and what weight files do not contain: --network (also --variant),
    --width, --init, --mean, --image_size, --classes, --preprocessing, --from_logits, --class_names.
    """
    define_path("model", None, "run directory, export, .keras file, or weight file of any kind", required=True)
    flags.DEFINE_alias("model_dir", "model")
    flags.DEFINE_alias("weights", "model")
    flags.DEFINE_string(
        "network",
        None,
        f"of a weight file: {', '.join(VARIANTS)}, keras.applications.<constructor>, or package.module:function; "
        "detected from the weights if possible",
    )
    flags.DEFINE_alias("variant", "network")
    flags.DEFINE_float("width", None, "of a weight file: multiplier of filters and units of an AlexNet", 0.001, 16)
    flags.DEFINE_enum("init", None, ["paper", "he"], "of a .weights.h5 of an AlexNet: its --init in training")
    flags.DEFINE_string(
        "mean", None, "of a weight file of an AlexNet: the mean that it subtracts, R,G,B or a .npy file"
    )
    flags.DEFINE_integer(
        "image_size", None, "of a weight file, or a .keras file that accepts several: side of images in pixels", 1, 4096
    )
    flags.DEFINE_integer("classes", None, "of a weight file: number of classes", 1, 100_000)
    flags.DEFINE_string(
        "preprocessing",
        None,
        "of a .keras file that is not an AlexNet: none if the model contains its preprocessing, or tf, torch or caffe "
        "as in keras.applications",
    )
    flags.DEFINE_boolean("from_logits", None, "of a .keras file that is not an AlexNet: whether it returns logits")
    define_path("class_names", None, "text file with one class name per line; ImageNet's wnids by default")


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
      UsageError: --mean cannot be read.
    """
    names = ("network", "classes", "width", "init", "image_size", "preprocessing", "from_logits")
    given: dict[str, Any] = {name: options[name].value for name in names}
    given["mean"] = None if options.mean is None else _mean(options.mean)
    return ModelArguments(options.model, given, options.class_names)


def load_model(options: flags.FlagValues) -> LoadedNetwork:
    """Loads the network that the flags of `define_model_flags` name; see `ModelArguments.load` for the errors."""
    return model_arguments(options).load()


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
