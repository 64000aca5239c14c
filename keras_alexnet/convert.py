"""Command: converts weights of other frameworks to `.weights.h5`, and whole networks to `.keras`.

    python -m keras_alexnet.convert --model=bvlc_alexnet.caffemodel --output=bvlc_alexnet.weights.h5
    python -m keras_alexnet.convert --model=build/photos --output=photos.keras

Reads whatever `load_network` reads, except for exports: Caffe's `.caffemodel` and its `.npy` conversions, PyTorch's
`.pth`, Keras' files and run directories. The output appears complete or not at all, and never replaces a file.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from keras_alexnet.model_flags import define_model_flags, load_model
from keras_alexnet.variants import VARIANTS
from pipelines.atomic import FileLockedError, atomic_path, file_lock
from pipelines.cli import define_path, reason_of, run

if TYPE_CHECKING:
    import keras

    from keras_alexnet.pretrained import LoadedNetwork

_WEIGHTS, _MODEL = ".weights.h5", ".keras"


def define_flags() -> None:
    """Defines the flags of this command."""
    define_model_flags()
    define_path("output", None, f"the file to write, *{_WEIGHTS} or *{_MODEL}", required=True)


def save(network: LoadedNetwork, output: str | os.PathLike[str]) -> None:
    """Writes a network as `.keras`, or the weights of a published network as `.weights.h5`.

    Args:
      network: of `load_network`, but not of an export.
      output: the file to write; it must not exist. `.weights.h5` does not contain the preprocessing: networks with
        preprocessing of their own, such as trained ones, need `.keras`.

    Raises:
      ValueError: `output` exists or cannot be written, or does not fit the network. Nothing is left behind then.

    Example:

    ```python
    save(load_network("bvlc_alexnet.caffemodel"), "bvlc_alexnet.weights.h5")
    ```
    """
    output = Path(output)
    check_output(output)
    if network.model is None:
        raise ValueError(f"model={network.source}: has no layers; expected a run directory or a file")
    if output.name.endswith(_WEIGHTS) and not _rebuilds_alike(network.model, network):
        raise ValueError(f"output={output}: would lose the preprocessing of this network; expected *{_MODEL}")
    # On a full disk h5py writes a page to stderr besides raising an error.
    needed, free = 4 * network.model.count_params() + 2**20, shutil.disk_usage(output.parent).free
    if free < needed:
        raise ValueError(f"output={output}: found {free / 1e6:.0f} MB free; expected {needed / 1e6:.0f} MB")
    try:
        _write(network.model, output)
    except FileLockedError as error:
        raise ValueError(f"output={output}: another conversion is writing it") from error
    except OSError as error:
        raise ValueError(f"output={output}: {reason_of(error)}; expected a file that can be written") from error


def check_output(output: Path) -> None:
    """Raises ValueError unless `output` is the name of a new `.weights.h5` or `.keras` in an existing directory."""
    if not output.name.endswith((_WEIGHTS, _MODEL)):
        raise ValueError(f"output={output}: expected a name that ends in {_WEIGHTS} or {_MODEL}")
    if os.path.lexists(output):
        raise ValueError(f"output={output}: found a file; expected a name that does not exist yet")
    if not output.parent.is_dir():
        raise ValueError(f"output={output}: found no directory {output.parent}; expected one that exists")


def _write(model: keras.Model, output: Path) -> None:
    lock = output.with_name(f".{output.name}.lock")
    with file_lock(lock):
        try:
            # Of conversions that were killed: `atomic_path` gives such names.
            for leftover in output.parent.glob(f".????????.{glob.escape(output.name)}"):
                leftover.unlink(missing_ok=True)
            with atomic_path(output) as temporary:
                (model.save_weights if output.name.endswith(_WEIGHTS) else model.save)(temporary)
                check_output(output)
        finally:
            # Windows removes no open files.
            with contextlib.suppress(PermissionError):
                lock.unlink(missing_ok=True)


def _rebuilds_alike(model: keras.Model, network: LoadedNetwork) -> bool:
    """Whether `AlexNet(variant, width=..., weights=...)` has the same preprocessing."""
    from keras_alexnet.layers import MeanSubtraction
    from keras_alexnet.model import AlexNet

    if network.network not in VARIANTS:
        return False
    default = AlexNet(network.network, classes=1, width=1 / 32)
    ours, theirs = (
        [layer.get_config() for layer in built.layers if isinstance(layer, MeanSubtraction)]
        for built in (default, model)
    )
    same = ("mean", "scale", "resize")
    return len(ours) == len(theirs) == 1 and all(ours[0][name] == theirs[0][name] for name in same)


def main(argv: Sequence[str]) -> None:
    """Converts, and prints what was found and how to use the result."""
    from keras_alexnet.weights import KINDS, recognise

    options = flags.FLAGS
    check_output(Path(options.output))
    network = load_model(options)
    save(network, options.output)
    assert network.model is not None  # or `save` had refused it
    classes = network.model.output_shape[-1]
    kind = recognise(options.model) if Path(options.model).is_file() else None
    source = (KINDS[kind] if kind else "run directory") + (f" of network {network.network}" if network.network else "")
    print(f"{options.model}: {source}, {classes} classes, {network.model.count_params():,} parameters")
    if options.network is None and kind == "caffe_npy":
        caffes = [variant.name for variant in VARIANTS.values() if "caffe" in variant.weight_formats]
        choice = " or ".join(f"--network={name}" for name in caffes if name != network.network)
        print(f"such a file does not name its network: assumed {network.network}; otherwise give {choice}")
    if not options.output.endswith(_WEIGHTS):
        print(f"wrote {options.output}: load_network({options.output!r})")
        return
    width = f", width={options.width}" if options.width not in (None, 1) else ""
    print(f"wrote {options.output}: AlexNet({network.network!r}, weights={options.output!r}, classes={classes}{width})")
    arguments = f"--init_from={shlex.quote(options.output)} --network={network.network}{width.replace(', ', ' --')}"
    print(f"fine-tune it: python -m keras_alexnet.train {arguments} --dataset=folder:photos --model_dir=runs/mine")


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
