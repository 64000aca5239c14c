"""Command: turns published weights into a `.weights.h5` for `AlexNet`.

    python -m keras_alexnet.convert --weights=bvlc_alexnet.caffemodel --output=bvlc_alexnet.weights.h5

Reads Caffe's `.caffemodel` and its `.npy` conversions, PyTorch's `.pth`, and Keras' own files. The number of classes is
the file's. The output appears by one rename, complete, and never replaces a file.
"""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

import keras
from absl import flags

from keras_alexnet.pretrained import pretrained_network
from keras_alexnet.variants import VARIANTS
from keras_alexnet.weights import KINDS
from keras_alexnet.weights.compatibility import variants_of
from keras_alexnet.weights.formats import WeightFile
from pipelines.cli import reason_of, run

_SUFFIX = ".weights.h5"


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("weights", None, "the file to convert; what it is, is seen from its content", required=True)
    flags.DEFINE_string("output", None, f"the file to write, *{_SUFFIX}", required=True)
    flags.DEFINE_enum("variant", None, list(VARIANTS), "the network that the weights are of; seen from them if not set")
    flags.DEFINE_float("width", 1.0, "of that network: multiplies its filters and units; 1 for published weights")


def convert(
    weights: str | os.PathLike, output: str | os.PathLike, variant: str | None = None, width: float = 1.0
) -> tuple[keras.Model, WeightFile, str]:
    """Writes the weights of a file of any kind in `KINDS` as a Keras `.weights.h5`.

    Args:
      weights: the file to read.
      output: the file to write; it must not exist.
      variant: the network's name in VARIANTS; by default the first that takes such a file.
      width: of the network.

    Returns:
      The model that was saved, the file's content, and the variant's name.

    Raises:
      ValueError: if the weights cannot be read or are not the variant's, or the output exists or cannot be written.
        Nothing is left behind then.
    """
    output = Path(output)
    _refuse_unusable(output)
    model, file, variant = pretrained_network(weights, variant, width)
    # On a full disk h5py writes a page to stderr besides raising an error.
    needed, free = 4 * model.count_params() + 2**20, shutil.disk_usage(output.parent).free
    if free < needed:
        raise ValueError(f"output={output}: found {free / 1e6:.0f} MB free; expected {needed / 1e6:.0f} MB")
    try:
        with tempfile.TemporaryDirectory(prefix=f"part-{output.name}-", dir=output.parent) as part:
            model.save_weights(Path(part) / output.name)
            _refuse_unusable(output)
            os.rename(Path(part) / output.name, output)
    except OSError as error:
        raise ValueError(f"output={output}: {reason_of(error)}; expected a file that can be written") from error
    return model, file, variant


def _refuse_unusable(output: Path) -> None:
    if not output.name.endswith(_SUFFIX):
        raise ValueError(f"output={output}; expected a name that ends in {_SUFFIX}")
    if output.exists():
        raise ValueError(f"output={output}: found a file; expected a name that is free")
    if not output.parent.is_dir():
        raise ValueError(f"output={output}: found no folder {output.parent}; expected one that exists")


def main(argv: list[str]) -> None:
    """Converts, and says what was found and what to do with it."""
    options = flags.FLAGS
    model, file, variant = convert(options.weights, options.output, options.variant, options.width)
    classes = model.output_shape[-1]
    print(
        f"{options.weights}: {KINDS[file.kind]} of variant {variant}, {classes} classes, "
        f"{model.count_params():,} parameters"
    )
    others = [other.name for other in variants_of(file) if other.name != variant]
    if options.variant is None and file.kind != "torch" and others:
        others = " or ".join(f"--variant={other}" for other in others)
        print(f"such a file does not say of which network it is: took {variant}; otherwise give {others}")
    is_narrow = options.width != 1
    arguments = f"{variant!r}, weights={options.output!r}, classes={classes}"
    print(f"wrote {options.output}: AlexNet({arguments}{f', width={options.width}' if is_narrow else ''})")
    arguments = f"--init_from={shlex.quote(options.output)} --variant={variant}"
    arguments += f" --width={options.width}" if is_narrow else ""
    rest = "--dataset=folder:photographs --model_dir=runs/mine"
    print(f"fine-tune it: python -m keras_alexnet.train {arguments} {rest}")


if __name__ == "__main__":
    run(main, define_flags)
