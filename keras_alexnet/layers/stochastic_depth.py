"""Regularisers of residual blocks by random masks: stochastic depth and swapout."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_alexnet.layers.nested import all_layers
from keras_alexnet.layers.randomness import RandomLayer, Sharing, bernoulli, factor_shape

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class StochasticDepth(RandomLayer):
    """Drops a residual branch at random in training and multiplies it by its survival probability at inference.

    It belongs after the branch's last batch normalization and before the addition. As published, one draw decides for
    the whole batch and nothing is rescaled in training; `per="image", rescale="training"` is the later "drop path" of
    EfficientNet. A dropped branch is computed all the same, so its batch normalization updates its moving averages,
    which the authors' code does not.

    Args:
      survival: probability of keeping the branch, 0 < survival <= 1.
      per: what shares a draw: "batch" or "image".
      rescale: "inference" multiplies by `survival` at inference, "training" divides by it in training.
      seed: of the draws.

    Examples:
        >>> StochasticDepth(0.5)(keras.ops.array([[[[4.0]]]]), training=False).numpy().item()
        2.0

    References:
      Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016, section 3.
    """

    def __init__(
        self,
        survival: float,
        per: Sharing = "batch",
        rescale: Literal["inference", "training"] = "inference",
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.survival, self.per, self.rescale = survival, per, rescale
        self.check("survival", 0 < survival <= 1, "0 < survival <= 1")
        self.check("per", per in ("batch", "image"), "'batch' or 'image'")
        self.check("rescale", rescale in ("inference", "training"), "'inference' or 'training'")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return inputs * self.survival if self.rescale == "inference" else inputs
        gate = bernoulli(self.next_seed(), 0, factor_shape(inputs, self.per), self.survival)
        if self.rescale == "training":
            gate /= self.survival
        return inputs * tf.cast(gate, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("survival", "per", "rescale", "seed")}


@register
class Swapout(RandomLayer):
    """Joins shortcut and branch with a 0/1 mask for each: each unit is 0, shortcut, branch or their sum.

    At inference it gives the expected value, `keep * (shortcut + branch)`. The paper averages the probabilities of
    several passes with random masks instead, because the expected value before a ReLU is not that after it; inside
    `stochastic_inference(model)` the masks are drawn at inference too.

    Input: `[shortcut, branch]`, tensors of one shape. Output: a tensor.

    Args:
      keep: probability that a mask keeps a unit, 0 < keep <= 1, the same for both.
      seed: of the draws.

    Examples:
        >>> x, f = keras.ops.array([[2.0]]), keras.ops.array([[3.0]])
        >>> Swapout(0.5)([x, f], training=False).numpy().tolist()
        [[2.5]]

    References:
      Singh, Hoiem, Forsyth, "Swapout: Learning an Ensemble of Deep Architectures", NIPS 2016, sections 3 and 3.3.
    """

    def __init__(self, keep: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.keep = keep
        self.draws_at_inference = False
        self.check("keep", 0 < keep <= 1, "0 < keep <= 1")

    def call(self, inputs: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        shortcut, branch = inputs
        if not (training or self.draws_at_inference):
            return self.keep * (shortcut + branch)
        seed = self.next_seed()
        masks = [tf.cast(bernoulli(seed, index, tf.shape(branch), self.keep), branch.dtype) for index in range(2)]
        return masks[0] * shortcut + masks[1] * branch

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("keep", "seed")}


@contextlib.contextmanager
def stochastic_inference(model: keras.Model) -> Iterator[None]:
    """In the block, the model's `Swapout` layers draw masks at inference too. Functions traced before do not change.

    The masks are the same each time the block is entered. The layers' random numbers in training are not affected.

    Raises:
      ValueError: if the model has no such layer.
    """
    layers = [layer for layer in all_layers(model) if isinstance(layer, Swapout)]
    if not layers:
        raise ValueError(f"model={model.name}: has no Swapout layer; expected one for stochastic inference")
    states = [layer.seed_generator.state.numpy() for layer in layers]
    for index, layer in enumerate(layers):
        layer.draws_at_inference = True
        layer.seed_generator.state.assign([index, 0])
    try:
        yield
    finally:
        for layer, state in zip(layers, states, strict=True):
            layer.draws_at_inference = False
            layer.seed_generator.state.assign(state)
