"""A user's own function as a network: `package.module:function`."""

import importlib
import inspect

from keras_alexnet.networks.network import Network
from keras_alexnet.variants.architecture import CROP_FRACTION

_REQUIRED = ("classes", "image_size", "classifier_activation")


def network(name: str) -> Network:
    """The network that a function builds; its signature is that of `Network.build`.

    The default of its parameter `image_size`, if it has one, is the network's (else 224). Its other named parameters
    are the network's options.

    Raises:
      ValueError: if it cannot be imported or has another signature.
    """
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"network={name}: {error}; expected package.module:function") from error
    parameters = inspect.signature(function).parameters if callable(function) else {}
    if any(required not in parameters for required in _REQUIRED):
        raise ValueError(f"network={name}: expected a function with the parameters {', '.join(_REQUIRED)}, and options")
    size = parameters["image_size"].default
    size = size if isinstance(size, int) else 224
    return Network(
        name=name,
        build=lambda classes, image_size, classifier_activation="softmax", **options: function(
            classes=classes, image_size=image_size, classifier_activation=classifier_activation, **options
        ),
        image_size=size,
        resize_size=round(size / CROP_FRACTION),
        resize_policy="shorter_side",
        weight_decay=0.0005,
        features_layer=None,
        options=tuple(
            option
            for option, parameter in parameters.items()
            if option not in _REQUIRED and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ),
    )
