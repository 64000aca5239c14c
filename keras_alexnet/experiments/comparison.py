"""Networks under equal conditions, as an experiment with one run for each."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.results import dataset_name, file_name
from keras_alexnet.networks import Network, create_for_training, find, parse_options
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.flags import parse_flags

PREFIX = "comparison_"

# The survey's conditions: momentum 0.9 (the optimizer's default), batch 128, learning rate 0.1 divided by 10 at 1/2 and
# 3/4 of the epochs.
_FLAGS = ("--batch_size=128", "--schedule=step")
_LEARNING_RATE = 0.1
# Networks without batch normalization do not train at 0.1.
_LEARNING_RATE_WITHOUT_BATCH_NORMALIZATION = 0.01
# cuda-convnet's layer-params files.
_OWN_LEARNING_RATES = dict.fromkeys(("convnet_13pct", "convnet_13pct_lrn", "convnet_11pct", "figure1_convnet"), 0.001)
# Side of CIFAR's images in pixels.
_CIFAR_SIZE = 32
_OWN_FLAGS = ("network", "network_options", "learning_rate", "dataset", "model_dir", "epochs", "seed")
# Options that training sets by a flag, or itself.
_OPTIONS_WITH_FLAGS = ("width", "init", "mean")


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
    def takes_whole_images(self) -> bool:
        """Whether the network takes CIFAR's images whole, as its authors do or because of the size that is given."""
        own = self.network.resize_size
        return own == self.network.image_size or (self.image_size <= _CIFAR_SIZE < own)

    @property
    def prepared_size(self) -> int:
        """Side of the images that it is trained on, before crops."""
        return self.image_size if self.takes_whole_images else self.network.resized_size(self.image_size)

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
    options = set(network.options) - {"mean"}
    fields = {field.name for field in dataclasses.fields(TrainingConfig)} - set(_OWN_FLAGS)
    accepted = fields - set(_OPTIONS_WITH_FLAGS) | options
    found: dict[str, list[str]] = {"options": [], "flags": []}
    for change in changes:
        key, _, value = change.partition("=")
        if key == "learning_rate":
            raise ValueError(f"networks={text}: {change}: expected learning_rates={name}={value}")
        if not value or key not in accepted:
            raise ValueError(
                f"networks={text}: {change}: expected name=value with a flag of keras_alexnet.train or an option of "
                f"{name} ({', '.join(option for option in network.options if option in options) or 'none'})"
            )
        found["flags" if key in fields else "options"].append(change)
    return Entry(text, network, tuple(found["options"]), tuple(found["flags"]))


def default_learning_rate(entry: Entry) -> float:
    """The initial learning rate of an entry, by default. Builds its network, which checks the changes.

    Raises:
      ValueError: a value is not accepted, or the network needs what is not installed.
    """
    import keras

    from keras_alexnet.layers.nested import all_layers

    try:
        parse_flags([f"--network={entry.network.name}", *(f"--{flag}" for flag in entry.flags)])
        # A function that ignores `classes` builds another number.
        model = create_for_training(entry.network.name, classes=7, **entry.built_with)
    except ValueError as error:
        raise ValueError(f"networks={entry.text}: {error}") from error
    is_normalized = any(isinstance(layer, keras.layers.BatchNormalization) for layer in all_layers(model))
    keras.backend.clear_session()
    by_default = _LEARNING_RATE if is_normalized else _LEARNING_RATE_WITHOUT_BATCH_NORMALIZATION
    return _OWN_LEARNING_RATES.get(entry.network.name, by_default)


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
      ValueError: there is no such network, it cannot be built with its changes, one is named twice, or
        `learning_rates` has one that is not compared.
    """
    if not all(names):
        raise ValueError(f"networks={','.join(names)}: found an empty name; expected names of networks")
    entries = [parse_entry(name) for name in names]
    different = {(entry.network.name, *sorted([*entry.options, *entry.flags])) for entry in entries}
    if not names or min(len(different), len({entry.run_name for entry in entries})) < len(names):
        raise ValueError(f"networks={','.join(names)}: expected different networks")
    rates = dict(learning_rates or {})
    unknown = rates.keys() - set(names)
    if unknown:
        raise ValueError(f"learning_rates={','.join(sorted(unknown))}: expected some of {', '.join(names)}")
    return Experiment(
        name=comparison_name(dataset),
        title=f"Networks under equal conditions: {dataset_name(dataset)}",
        claim="Networks trained with the same flags.",
        dataset=dataset,
        image_size=max(entry.prepared_size for entry in entries),
        flags=(*_FLAGS, f"--step_epochs={_steps(epochs)}", f"--epochs={epochs}"),
        runs=tuple(_run(entry, rates.get(entry.text)) for entry in entries),
    )


def comparison_name(dataset: str) -> str:
    """The name of the experiment, which is that of its result files."""
    return PREFIX + dataset_name(dataset)


def _steps(epochs: int) -> str:
    """The half and three quarters of the epochs, where a run is long enough to have them."""
    return ",".join(map(str, sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)})))


def _run(entry: Entry, rate: float | None) -> Run:
    network = entry.network
    augmentation = "pad4" if entry.takes_whole_images else "crop"
    by_default = default_learning_rate(entry)
    rate = by_default if rate is None else rate
    options = (f"--network_options={','.join(entry.options)}",) if entry.options else ()
    flags = (f"--learning_rate={rate:g}", f"--augmentation={augmentation}", *(f"--{flag}" for flag in entry.flags))
    return Run(entry.run_name, (f"--network={network.name}", *options, *flags), entry.text)
