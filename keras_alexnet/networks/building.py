"""Builds the networks of the registry, and checks their arguments and outputs."""

import contextlib
from collections.abc import Iterator
from typing import Any

from keras_alexnet.networks.network import Network
from keras_alexnet.networks.registry import find


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
    from keras_alexnet.alexnet_arguments import check_classifier_arguments, check_positive_integer

    network = find(name)
    for option, value in options.items():
        if option not in network.options:
            accepted = ", ".join(network.options) or "none"
            raise ValueError(f"{option}={value!r}: {name} has no such option; it accepts {accepted}")
    check_classifier_arguments(classes, classifier_activation)
    if image_size is not None:
        check_positive_integer("image_size", image_size)
    try:
        with _channels_last():
            model = network.build(classes, image_size or network.image_size, classifier_activation, **options)
    except (TypeError, ValueError) as error:
        # A message that begins with an argument needs nothing more; those of Keras and TensorFlow name a layer. Of a
        # user's own function the error itself is wanted.
        message = str(error).strip()
        arguments = tuple(f"{name}=" for name in ("classes", "image_size", "network", *network.options))
        if ":" in name or (isinstance(error, ValueError) and message.startswith(arguments)):
            raise
        raise ValueError(f"network={name}: cannot be built with these arguments: {message}") from error
    return _checked(network, model, classes)


@contextlib.contextmanager
def _channels_last() -> Iterator[None]:
    """Layers without a data format of their own read `[N, H, W, C]`, whatever Keras' configuration file says."""
    import keras

    configured = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(configured)


def main_output_only(model: Any) -> Any:
    """`model` without its auxiliary outputs and the layers that only they need."""
    import keras

    return keras.Model(model.inputs, model.outputs[0], name=model.name) if len(model.outputs) > 1 else model


def _checked(network: Network, model: Any, classes: int) -> Any:
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"network={network.name}: it built a {type(model).__name__}; expected a keras.Model")
    shapes = [tuple(images.shape) for images in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise ValueError(
            f"network={network.name}: its input has shape {', '.join(map(str, shapes))}; expected one of (None, size, "
            "size, 3), such as keras.Input((image_size, image_size, 3))"
        )
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
