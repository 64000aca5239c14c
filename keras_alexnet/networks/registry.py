"""The registry: name -> `Network`."""

import functools
from typing import Any

from keras_alexnet.networks import (
    alexnet,
    convnets,
    dense,
    fire,
    fractal,
    googlenet,
    hub_classifiers,
    inception_v4,
    keras_applications,
    keras_hub,
    lenet,
    plain_networks,
    residual,
    user_factory,
)
from keras_alexnet.networks.network import Network

_FAMILIES = (
    *(alexnet, convnets, lenet, plain_networks, googlenet, inception_v4, fire, residual, dense, fractal),
    *(keras_hub, keras_applications),
)


@functools.cache
def _registered() -> dict[str, Network]:
    return {network.name: network for family in _FAMILIES for network in family.networks()}


def names() -> tuple[str, ...]:
    """The registered networks. Needs neither TensorFlow nor Keras."""
    return tuple(_registered())


# The names that `find` accepts.
_PATTERNS = (
    f"{keras_applications.PREFIX}<constructor>, {hub_classifiers.PREFIX}<class or preset>, or package.module:function"
)
NAME_FORMS = f"paper, resnet_20 or another name that `python -m keras_alexnet.describe --list` prints, {_PATTERNS}"


def find(name: str) -> Network:
    """The network called `name`.

    Args:
      name: one of `names()`, `package.module:function` for a function with the signature of `Network.build`, or
        `keras_hub.<class or preset>`.

    Raises:
      ValueError: if there is no such network; the message lists those that exist.
    """
    if ":" in name:
        return user_factory.network(name)
    if name.startswith(hub_classifiers.PREFIX):
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
    return hub_classifiers.network(name)


def create(
    name: str,
    classes: int = 1000,
    image_size: int | None = None,
    classifier_activation: str | None = "softmax",
    **options: Any,
) -> Any:
    """Builds a network with random weights.

    Args:
      name: as for `find`.
      classes: number of classes, at least 1.
      image_size: side of the input in pixels; the network's own by default.
      classifier_activation: of the main output; a name that Keras knows, or None for logits.
      **options: keywords that the network accepts (`Network.options`).

    Returns:
      A `keras.Model`: RGB images `[N, image_size, image_size, 3]`, pixel values 0..255, to `[N, classes]`. Auxiliary
      outputs are left out; `find(name).build` keeps them.

    Raises:
      ValueError: for an unknown network or option, or a value that the network does not accept.

    Example:

    ```python
    model = networks.create("keras.applications.MobileNet", classes=10, image_size=96, alpha=0.25)
    ```
    """
    return main_output_only(create_for_training(name, classes, image_size, classifier_activation, **options))


def create_for_training(
    name: str,
    classes: int,
    image_size: int | None = None,
    classifier_activation: str | None = None,
    **options: Any,
) -> Any:
    """Builds a network with its auxiliary outputs, one for each of `Network.aux_loss_weights`, after the main one.

    Arguments and errors are those of `create`.
    """
    network = find(name)
    for option, value in options.items():
        if option not in network.options:
            accepted = ", ".join(network.options) or "none"
            raise ValueError(f"{option}={value!r}: {name} has no such option; it accepts {accepted}")
    if classes < 1:
        raise ValueError(f"classes={classes}: expected at least 1")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size={image_size}: expected at least 1")
    model = network.build(classes, image_size or network.image_size, classifier_activation, **options)
    return _checked(network, model, classes)


def main_output_only(model: Any) -> Any:
    """`model` without its auxiliary outputs and the layers that only they need."""
    import keras

    return keras.Model(model.inputs, model.outputs[0], name=model.name) if len(model.outputs) > 1 else model


def _checked(network: Network, model: Any, classes: int) -> Any:
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"network={network.name}: it built a {type(model).__name__}; expected a keras.Model")
    if not network.aux_loss_weights:
        model = main_output_only(model)
    expected = (None, classes)
    for output in model.outputs:
        if tuple(output.shape) != expected:
            raise ValueError(f"network={network.name}: its output has shape {tuple(output.shape)}; expected {expected}")
    if len(model.outputs) != 1 + len(network.aux_loss_weights):
        raise ValueError(
            f"network={network.name}: it has {len(model.outputs) - 1} auxiliary outputs; expected "
            f"{len(network.aux_loss_weights)}, one for each of its loss weights"
        )
    return model
