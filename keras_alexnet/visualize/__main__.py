"""Command: draws a figure of a network.

    python -m keras_alexnet.visualize kernels --model=build/photos
    python -m keras_alexnet.visualize predictions --model=build/photos --images=holiday/*.jpg --output=holiday.svg
    python -m keras_alexnet.visualize architecture --model=model.keras

kernels        of the first convolution, by tower (Figure 3 of the paper)
predictions    photographs with their five best classes (Figure 4, left)
neighbours     photographs with the training photographs that have the nearest features (Figure 4, right)
activations    feature maps of the layers for one photograph
confusion      confusion matrix of a split
errors         the most confident mistakes of a split
architecture   the layers as boxes (Figure 2)
curves         error and loss by epoch, of a run directory
summary        kernels, predictions and curves of a run directory in one figure
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from keras_alexnet.model_flags import define_model_flags, load_model
from keras_alexnet.visualize import FIGURES
from pipelines.atomic import atomic_path
from pipelines.choices import CROPS, DATASET_FORMS
from pipelines.cli import UsageError, define_path, define_paths, reason_of, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg")
_DPI = 160


def define_flags() -> None:
    """Defines the flags of this command."""
    define_model_flags()
    flags.DEFINE_string("dataset", None, f"{DATASET_FORMS}; by default the dataset it was trained on")
    define_path("data_dir", None, "where TFDS keeps datasets; as in training by default")
    flags.DEFINE_string("split", "validation", "train, validation or test")
    define_paths("images", None, "image files, directories or glob patterns in place of a split; may be repeated")
    flags.DEFINE_string("layer", None, "activations: only this layer; neighbours: the layer that gives the features")
    flags.DEFINE_enum("crops", "center", list(CROPS), "center crop, or the paper's ten crops")
    define_path(
        "features_file", None, "neighbours: search this .parquet, .csv or .jsonl file written by keras_alexnet.predict"
    )
    define_path("output", None, "file to write or replace, .png or .svg; <figure>.png by default")


def save(figure: Figure, path: Path) -> None:
    """Writes a figure in one step, as PNG or SVG by the suffix.

    Raises:
      ValueError: the file cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            # No date in an SVG: equal figures are equal files.
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
            figure.savefig(temporary, dpi=_DPI, facecolor="white", metadata=metadata)
    except OSError as error:
        raise ValueError(f"output={path}: {reason_of(error)}; expected a file that can be written") from error


def _figure_name(arguments: Sequence[str]) -> str:
    if len(arguments) != 1 or arguments[0] not in FIGURES:
        received = " ".join(arguments) or "nothing"
        raise UsageError(f"received {received}; expected one of {', '.join(FIGURES)} (--help explains them)")
    return arguments[0]


def _output(name: str, given: str | None) -> Path:
    path = Path(given or f"{name}.png")
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"output={path}: expected a name that ends in {' or '.join(_SUFFIXES)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"output={path}: expected a file in a directory that exists")
    return path


def main(argv: Sequence[str]) -> None:
    """Draws the figure, saves it and prints its path."""
    options = flags.FLAGS
    # Everything that can be wrong is checked before the network is loaded.
    name = _figure_name(argv[1:])
    output = _output(name, options.output)
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is missing: pip install 'keras-alexnet[figures]'")

    from keras_alexnet.visualize.figures import DRAW, Request

    request = Request(
        options.model,
        load_model(options),
        dataset=options.dataset,
        data_dir=options.data_dir,
        split=options.split,
        images=tuple(options.images or ()),
        layer=options.layer,
        crops=options.crops,
        features_file=options.features_file,
    )
    save(DRAW[name](request), output)
    print(f"{name}: {output}")


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags, takes_arguments=True)


if __name__ == "__main__":
    command()
