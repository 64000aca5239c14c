"""Command: converts weights of other frameworks to `.weights.h5`, and whole networks to `.keras`.

    python -m keras_alexnet.convert --model=bvlc_alexnet.caffemodel --output=bvlc_alexnet.weights.h5
    python -m keras_alexnet.convert --model=build/photos --output=photos.keras

Reads whatever `load_network` reads, except for exports: Caffe's `.caffemodel` and its `.npy` conversions, PyTorch's
`.pth`, Keras' files, presets of keras-hub and run directories. The output appears complete or not at all, and never
replaces a file.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Writes a network as `.keras`, or its weights as `.weights.h5`.

    Args:
      network: as returned by `load_network`; an export is not accepted.
      output: the file to write; it must not exist. `.weights.h5` does not contain the preprocessing: an AlexNet with
        preprocessing of its own, such as a trained one, needs `.keras`.

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
    """Whether the network's name and options give the same preprocessing."""
    from keras_alexnet.layers import MeanSubtraction
    from keras_alexnet.model import AlexNet
    from keras_alexnet.networks import find

    if network.network not in VARIANTS:
        # Other networks have no preprocessing that depends on the training set.
        return network.network is not None and find(network.network).mean is None
    default = AlexNet(network.network, classes=1, width=1 / 32)
    ours, theirs = (
        [layer.get_config() for layer in built.layers if isinstance(layer, MeanSubtraction)]
        for built in (default, model)
    )
    same = ("mean", "scale", "resize")
    return len(ours) == len(theirs) == 1 and all(ours[0][name] == theirs[0][name] for name in same)


def main(argv: Sequence[str]) -> None:
    """Converts, and prints what was found and how to use the result."""
    from keras_alexnet.weights import KINDS, is_preset, recognise

    options = flags.FLAGS
    check_output(Path(options.output))
    network = load_model(options)
    save(network, options.output)
    assert network.model is not None  # or `save` had refused it
    classes = network.model.output_shape[-1]
    is_run = Path(options.model).is_dir() and not is_preset(options.model)
    kind = None if is_run else recognise(options.model)
    source = (KINDS[kind] if kind else "run directory") + (f" of network {network.network}" if network.network else "")
    print(f"{options.model}: {source}, {classes} classes, {network.model.count_params():,} parameters")
    if options.network is None and kind == "caffe_npy":
        caffes = [variant.name for variant in VARIANTS.values() if "caffe" in variant.weight_formats]
        choice = " or ".join(f"--network={name}" for name in caffes if name != network.network)
        print(f"the file does not name its network; assumed {network.network}. If that is wrong, pass {choice}")
    print(f"wrote {options.output}: {_python(network, options.output)}")
    if options.output.endswith(_WEIGHTS):
        arguments = f"--init_from={shlex.quote(options.output)} {_network_flags(network)}"
        print(f"fine-tune it: python -m keras_alexnet.train {arguments} --dataset=folder:photos --model_dir=runs/mine")


def _python(network: LoadedNetwork, output: str) -> str:
    """How to load the file in Python."""
    assert network.model is not None
    is_alexnet = network.network in VARIANTS or network.network is None
    if not output.endswith(_WEIGHTS):
        inputs = "" if is_alexnet else f", preprocessing={network.preprocessing!r}, from_logits={network.from_logits}"
        return f"load_network({output!r}{inputs})"
    keywords = {"classes": network.model.output_shape[-1]} | _options(network)
    texts = "".join(f", {name}={value!r}" for name, value in keywords.items())
    if is_alexnet and "image_size" not in keywords:
        return f"AlexNet({network.network!r}, weights={output!r}{texts})"
    return f"load_network({output!r}, network={network.network!r}{texts})"


def _options(network: LoadedNetwork) -> dict[str, Any]:
    """The options that rebuild the network, without those that are defaults."""
    from keras_alexnet.networks import find

    assert network.model is not None and network.network is not None
    options = dict(network.options)
    if network.network in VARIANTS:
        # Another preprocessing than the variant's was refused.
        options = {"width": options.get("width", 1)}
    size = network.model.input_shape[1]
    if size != find(network.network).image_size:
        options |= {"image_size": size} | ({"init": "paper"} if network.network in VARIANTS else {})
    return {name: value for name, value in options.items() if (name, value) != ("width", 1)}


def _network_flags(network: LoadedNetwork) -> str:
    """The flags of the train command for the same network."""
    own, options = [f"--network={network.network}"], []
    for name, value in _options(network).items():
        if name in ("width", "init", "image_size"):
            own.append(f"--{name}={value}")
        else:
            options.append(f"{name}={value}")
    return " ".join([*own, *([f"--network_options={shlex.quote(','.join(options))}"] if options else [])])


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
