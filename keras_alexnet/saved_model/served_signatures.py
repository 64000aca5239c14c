"""The network of a model as it is served, and the served signatures of any loaded network without an export."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_alexnet.classifier import alexnet_input
from keras_alexnet.distribute.compilation import never_exported
from keras_alexnet.pretrained import LoadedNetwork, Signature
from keras_alexnet.saved_model import PRECISIONS
from keras_alexnet.saved_model.arguments import resolve_resize
from keras_alexnet.saved_model.generic_network import GenericNetwork
from keras_alexnet.saved_model.module import ServableNetwork, ServingModule
from keras_alexnet.saved_model.serving_network import ServingNetwork


def serving_network(network: LoadedNetwork, precision: str) -> ServableNetwork:
    """A network as `ServingModule` takes it.

    Args:
      network: one with a model.
      precision: one of `saved_model.PRECISIONS`.

    Raises:
      ValueError: the precision is unknown or not supported for this model, or the resize policy is not its own.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}")
    model, size = network.model, network.resized_size
    assert model is not None
    resize = resolve_resize(model, network.resize)
    if alexnet_input(model) is not None:
        return ServingNetwork(model, precision, size)
    if precision != "float32":
        raise ValueError(f"precision={precision!r}: supported for AlexNet only; expected 'float32' for {model.name}")
    return GenericNetwork(model, network.preprocessing, network.from_logits, size, resize)


def class_labels(network: LoadedNetwork) -> tuple[str, ...]:
    """What predictions call the classes of `network`: its display names, or their numbers if these are unknown."""
    if network.display_names or network.model is None:
        return network.display_names
    return tuple(str(index) for index in range(network.model.output_shape[-1]))


def served_signatures(network: LoadedNetwork) -> Mapping[str, Signature]:
    """The signatures of an export; of another network, those that its export would have.

    Args:
      network: as returned by `load_network`.

    Returns:
      Name -> function; names, inputs and outputs are those of `serving.signatures`.
    """
    if network.signatures is not None:
        return network.signatures
    module = ServingModule(serving_network(network, "float32"), class_labels(network))
    with never_exported():
        functions = module.trace()

    def signature(name: str) -> Signature:
        def call(**inputs: Any) -> dict[str, tf.Tensor]:
            assert module is not None  # A function alone would hold the variables of the module weakly.
            return functions[name](**inputs)

        return call

    return {name: signature(name) for name in functions}
