"""`LoadedNetwork`: what `load_network` returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.ten_crop import Preprocessing
from pipelines.choices import RESIZED_SIZE

# A function of keyword arguments that returns outputs by name, as in `serving.signatures`.
Signature = Callable[..., dict[str, tf.Tensor]]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, and what is needed to use it as in training.

    Attributes:
      source: the path that it was loaded from.
      model: the Keras model, `[N, S, S, 3]` to `[N, classes]`; None for an export.
      from_logits: whether the outputs are logits rather than probabilities.
      preprocessing: what the model expects to be done to RGB 0..255; see `ten_crop.preprocess`.
      resize: how images are resized, one of `pipelines.choices.RESIZE_POLICIES`.
      resized_size: side of the resized images in pixels.
      class_names: one per class; empty if unknown.
      display_names: labels of predictions, one per class; empty if unknown.
      signatures: of an export, name -> function with the inputs of `serving.signatures` as keywords; else None.
      training: facts about the training, as JSON can hold them; for the model card.
      steps: number of training steps; 0 if unknown.
      network: name of the network (`networks.names()`); None if unknown.
      options: that the network was built with, as for `networks.create`.
    """

    source: str
    model: keras.Model | None = None
    from_logits: bool = False
    preprocessing: Preprocessing = "none"
    resize: str = "shorter_side"
    resized_size: int = RESIZED_SIZE
    class_names: tuple[str, ...] = ()
    display_names: tuple[str, ...] = ()
    signatures: Mapping[str, Signature] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    network: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def keras_model(self) -> keras.Model:
        """The Keras model, for what needs its layers.

        Raises:
          ValueError: the network is an export.
        """
        if self.model is None:
            raise ValueError(
                f"model={self.source}: is an export, whose layers are not accessible; expected the run directory, "
                ".keras or weight file that it was made of"
            )
        return self.model
