"""The registry: name -> `Network`."""

import functools

from keras_alexnet.networks import (
    alexnet,
    convnets,
    densenet,
    fractalnet,
    googlenet,
    inception_v4,
    keras_applications,
    keras_hub,
    lenet,
    plain_networks,
    residual,
    resnet_18_34,
    squeezenet,
    user_factory,
)
from keras_alexnet.networks.network import Network

_FAMILIES = (
    *(alexnet, convnets, lenet, plain_networks, googlenet, inception_v4, squeezenet, residual),
    *(densenet, fractalnet, resnet_18_34, keras_applications),
)


@functools.cache
def _registered() -> dict[str, Network]:
    return {network.name: network for family in _FAMILIES for network in family.networks()}


def names() -> tuple[str, ...]:
    """The registered networks. Needs neither TensorFlow nor Keras."""
    return tuple(_registered())


# The names that `find` accepts.
_PATTERNS = f"{keras_applications.PREFIX}<constructor>, {keras_hub.PREFIX}<class or preset>, or package.module:function"
NAME_FORMS = f"paper, resnet_20 or another name that `python -m keras_alexnet.describe --list` prints, {_PATTERNS}"


def find(name: str) -> Network:
    """The network called `name`.

    Args:
      name: one of `names()`, `package.module:function` for a function with the signature of `Network.build`, or
        `keras_hub.<class or preset>`.

    Raises:
      ValueError: if there is no such network; the message lists those that exist.
    """
    if not isinstance(name, str):
        raise ValueError(f"network={name!r}: expected {NAME_FORMS}")
    if ":" in name:
        return user_factory.network(name)
    if name.startswith(keras_hub.PREFIX):
        return _hub_classifier(name)
    if name in _registered():
        return _registered()[name]
    prefix = keras_applications.PREFIX
    if name.startswith(prefix):
        constructors = ", ".join(keras_applications.CONSTRUCTORS)
        raise ValueError(f"network={name}: expected {prefix}<constructor>, one of {constructors}")
    own = ", ".join(known for known in names() if not known.startswith(prefix))
    raise ValueError(f"network={name}: expected one of {own}, {_PATTERNS}")


@functools.cache
def _hub_classifier(name: str) -> Network:
    return keras_hub.network(name)
