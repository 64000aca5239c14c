"""Several networks whose class probabilities are averaged (paper, Tables 1 and 2)."""

from collections.abc import Sequence
from typing import Any

from keras_alexnet.pretrained.loaded_network import LoadedNetwork


def check_average(networks: Sequence[LoadedNetwork]) -> None:
    """Checks that the probabilities of networks can be averaged, and that they read the same resized images.

    Raises:
      ValueError: there is no network, or one has other classes, another order of them, another resize policy or another
        size of the resized images than the first.
    """
    if not networks:
        raise ValueError("model is missing: expected at least one")
    first, *others = networks
    for other in others:
        _check_classes(first, other)
        for what, expected, found in (
            ("resize policy", first.resize, other.resize),
            ("resized images", f"{first.resized_size} pixels", f"{other.resized_size} pixels"),
        ):
            if found != expected:
                raise ValueError(f"model={other.source}: {what}: found {found}; expected {expected}, as {first.source}")


def _check_classes(first: LoadedNetwork, other: LoadedNetwork) -> None:
    counts = [_classes(network) for network in (first, other)]
    if counts[0] != counts[1]:
        raise ValueError(f"model={other.source}: has {counts[1]} classes; expected {counts[0]}, as {first.source}")
    for nameless, named in ((first, other), (other, first)):
        if named.class_names and not nameless.class_names:
            raise ValueError(f"class_names is missing: {nameless.source} does not contain them, as {named.source} does")
    for label, (expected, found) in enumerate(zip(first.class_names, other.class_names, strict=True)):
        if found != expected:
            raise ValueError(
                f"model={other.source}: class {label} is {found!r}; expected {expected!r}, as {first.source}"
            )


def _classes(network: LoadedNetwork) -> int:
    return network.model.output_shape[-1] if network.model is not None else len(network.class_names)


def shared_training(networks: Sequence[LoadedNetwork]) -> dict[str, Any]:
    """The facts about the training in which all networks agree; without error rates, which are of single networks."""
    first, *others = (network.training for network in networks)
    return {
        name: value
        for name, value in first.items()
        if name != "error_rates" and all(name in other and other[name] == value for other in others)
    }
