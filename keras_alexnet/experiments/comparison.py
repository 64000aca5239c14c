"""Networks under equal conditions, as an experiment with one run for each."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.results import file_name
from keras_alexnet.networks import Network, find, parse_options
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.variants import VARIANTS

PREFIX = "comparison_"

# The survey's conditions: momentum 0.9 (the optimizer's default), batch 128, learning rate 0.1 divided by 10 at 1/2 and
# 3/4 of the epochs.
_FLAGS = ("--batch_size=128", "--schedule=step")
_LEARNING_RATE = 0.1
# Networks without batch normalization do not train at 0.1.
_OWN_LEARNING_RATES = {
    **dict.fromkeys(VARIANTS, 0.01),
    **dict.fromkeys(("convnet_13pct", "convnet_13pct_lrn", "convnet_11pct", "figure1_convnet"), 0.001),
    **dict.fromkeys(("lenet5", "nin", "nin_imagenet", "zfnet", "googlenet", "squeezenet", "squeezenet_v1_1"), 0.01),
    **dict.fromkeys(("keras.applications.VGG16", "keras.applications.VGG19"), 0.01),
}
_OWN_FLAGS = ("network", "network_options", "learning_rate", "dataset", "model_dir", "epochs", "seed")


@dataclass(frozen=True)
class Entry:
    """A network of a comparison, and what is changed for it.

    Attributes:
      text: as it was named: `resnet_20`, or `resnet_20+survival=0.5+cutout=16`.
      network: the network.
      options: of the network.
      flags: of `keras_alexnet.train`, without "--".
    """

    text: str
    network: Network
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def run_name(self) -> str:
        """The entry in file names."""
        return file_name(self.text)

    @property
    def image_size(self) -> int:
        """Side of the network's images in pixels."""
        return int(self.built_with.get("image_size", self.network.image_size))

    @property
    def built_with(self) -> dict[str, Any]:
        """The keywords of `networks.create`."""
        own = [flag for flag in self.flags if flag.partition("=")[0] in (*self.network.options, "image_size")]
        return parse_options(",".join([*own, *self.options]))


def parse_entry(text: str) -> Entry:
    """Parses a network with changes: its name, then `+name=value` for options of the network and flags of training.

    Raises:
      ValueError: there is no such network, option or flag, or the comparison sets it itself.

    Examples:
        >>> parse_entry("resnet_20+survival=0.5+cutout=16").flags
        ('cutout=16',)
    """
    name, *changes = text.split("+")
    network = find(name)
    flags = {field.name for field in dataclasses.fields(TrainingConfig)}
    found: dict[str, list[str]] = {"options": [], "flags": []}
    for change in changes:
        key, _, value = change.partition("=")
        if not value or key in _OWN_FLAGS or key not in (*flags, *network.options):
            accepted = ", ".join(network.options) or "none"
            raise ValueError(
                f"networks={text}: {change}: expected name=value with a flag of keras_alexnet.train or an option of "
                f"{name} ({accepted})"
            )
        found["flags" if key in flags else "options"].append(change)
    return Entry(text, network, tuple(found["options"]), tuple(found["flags"]))


def comparison(
    names: Sequence[str], dataset: str, epochs: int, learning_rates: Mapping[str, float] | None = None
) -> Experiment:
    """The experiment that trains each network once per seed, all with the same flags.

    Args:
      names: of networks, see `parse_entry`.
      dataset: see `Experiment.dataset`; a prepared dataset must have images that are large enough.
      epochs: passes over the training images; 0 for networks that are only measured.
      learning_rates: initial learning rates of some networks, in place of 0.1, or 0.01 and less without batch
        normalization.

    Raises:
      ValueError: there is no such network, one is named twice, or `learning_rates` has one that is not compared.
    """
    entries = [parse_entry(name) for name in names]
    if not names or len({entry.run_name for entry in entries}) < len(names):
        raise ValueError(f"networks={','.join(names)}: expected different names of networks")
    rates = dict(learning_rates or {})
    unknown = rates.keys() - set(names)
    if unknown:
        raise ValueError(f"learning_rates={','.join(sorted(unknown))}: expected some of {', '.join(names)}")
    return Experiment(
        name=comparison_name(dataset),
        title=f"Networks under equal conditions: {dataset_name(dataset)}",
        claim="Networks trained with the same flags.",
        dataset=dataset,
        image_size=max(entry.network.resize_size for entry in entries),
        flags=(*_FLAGS, f"--step_epochs={_steps(epochs)}", f"--epochs={epochs}"),
        runs=tuple(_run(entry, rates.get(entry.text)) for entry in entries),
    )


def dataset_name(dataset: str) -> str:
    """The dataset in file names: the last part of a path, or the first of a TFDS name."""
    kind, _, path = dataset.rpartition(":")
    is_path = kind or Path(path).is_dir() or path.startswith(("/", "~", "."))
    name = Path(path).name if is_path else path.partition("/")[0]
    return file_name(name)


def comparison_name(dataset: str) -> str:
    """The name of the experiment, which is that of its result files."""
    return PREFIX + dataset_name(dataset)


def learning_rate(network: str) -> float:
    """The initial learning rate by default."""
    return _OWN_LEARNING_RATES.get(network, _LEARNING_RATE)


def _steps(epochs: int) -> str:
    """The half and three quarters of the epochs, where a run is long enough to have them."""
    return ",".join(map(str, sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)})))


def _run(entry: Entry, rate: float | None) -> Run:
    network = entry.network
    # Networks of small images take them whole; the others crop 224 of 256, as AlexNet.
    augmentation = "pad4" if network.image_size == network.resize_size else "crop"
    rate = learning_rate(network.name) if rate is None else rate
    options = (f"--network_options={','.join(entry.options)}",) if entry.options else ()
    flags = (f"--learning_rate={rate:g}", f"--augmentation={augmentation}", *(f"--{flag}" for flag in entry.flags))
    return Run(entry.run_name, (f"--network={network.name}", *options, *flags), entry.text)
