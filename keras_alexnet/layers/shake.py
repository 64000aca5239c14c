"""Regularisers of residual blocks by random factors that differ between forward and backward pass."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_alexnet.layers.randomness import SHARINGS, RandomLayer, Sharing, bernoulli, factor_shape, uniform

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@tf.custom_gradient
def scaled(values: tf.Tensor, forward: tf.Tensor, backward: tf.Tensor) -> tf.Tensor:
    """`forward * values`, whose gradient is that of `backward * values`. The factors have no gradient."""
    return forward * values, lambda upstream: (backward * upstream, None, None)


@register
class ShakeShake(RandomLayer):
    """The sum of two residual branches with random weights: `a F1 + (1 - a) F2`, in the backward pass with `b` for `a`.

    At inference the weights are 1/2. Computed in float32 under any dtype policy.

    Input: `[F1, F2]`, tensors `[N, H, W, C]`, each after its last batch normalization. Output: a tensor, to be added to
    the shortcut.

    Args:
      forward: "shake" draws `a`, "even" is 1/2.
      backward: "shake" draws `b` independently of `a`, "even" is 1/2, "keep" uses `a`.
      per: what shares a draw: "image" or "batch".
      draw: "uniform" draws from [0, 1] as published; "bernoulli" takes one of the branches, as the code that the survey
        names does (takedarts/resnetfamily).
      seed: of the draws.

    Examples:
        >>> branches = [keras.ops.array([[[[2.0]]]]), keras.ops.array([[[[10.0]]]])]
        >>> ShakeShake()(branches, training=False).numpy().item()
        6.0

    References:
      Gastaldi, "Shake-Shake regularization", arXiv:1705.07485, section 2.
    """

    def __init__(
        self,
        forward: Literal["shake", "even"] = "shake",
        backward: Literal["shake", "even", "keep"] = "shake",
        per: Sharing = "image",
        draw: Literal["uniform", "bernoulli"] = "uniform",
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.forward, self.backward, self.per, self.draw = forward, backward, per, draw
        self.check("forward", forward in ("shake", "even"), "'shake' or 'even'")
        self.check("backward", backward in ("shake", "even", "keep"), "'shake', 'even' or 'keep'")
        self.check("per", per in ("batch", "image"), "'batch' or 'image'")
        self.check("draw", draw in ("uniform", "bernoulli"), "'uniform' or 'bernoulli'")

    def call(self, inputs: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        first, second = (tf.cast(branch, tf.float32) for branch in inputs)
        if not training:
            return tf.cast((first + second) / 2, self.compute_dtype)
        seed, shape = self.next_seed(), factor_shape(first, self.per)
        a = self._drawn(self.forward, seed, 0, shape)
        b = a if self.backward == "keep" else self._drawn(self.backward, seed, 1, shape)
        return tf.cast(scaled(first, a, b) + scaled(second, 1 - a, 1 - b), self.compute_dtype)

    def _drawn(self, mode: str, seed: tf.Tensor, stream: int, shape: Any) -> tf.Tensor:
        if mode == "even":
            return tf.constant(0.5)
        return uniform(seed, stream, shape) if self.draw == "uniform" else bernoulli(seed, stream, shape, 0.5)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        names = ("forward", "backward", "per", "draw", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}


@register
class ShakeDrop(RandomLayer):
    """Multiplies a residual branch by `g + a - g a`, and in the backward pass by `g + b - g b`.

    The gate `g` is 1 with probability `survival`, once for the whole batch; then the block is a plain one. Otherwise
    the factors are `a` and `b`. At inference the factor is its expected value. Computed in float32 under any dtype
    policy. The branch must end with batch normalization.

    Args:
      survival: probability of `g` = 1, 0 < survival <= 1.
      forward: range of `a`, uniform; (-1, 1) as published.
      backward: range of `b`, uniform; (0, 1) as published.
      per: what shares a draw of `a` and `b`: "pixel", as in the authors' code, "channel", "image" or "batch".
      seed: of the draws.

    Examples:
        >>> ShakeDrop(0.75)(keras.ops.array([[[[8.0]]]]), training=False).numpy().item()
        6.0

    References:
      Yamada, Iwamura, Kise, "ShakeDrop regularization", arXiv:1802.02375, section 3; github.com/imenurok/ShakeDrop.
    """

    def __init__(
        self,
        survival: float,
        forward: Sequence[float] = (-1.0, 1.0),
        backward: Sequence[float] = (0.0, 1.0),
        per: Sharing = "pixel",
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.survival, self.forward, self.backward, self.per = survival, tuple(forward), tuple(backward), per
        self.check("survival", 0 < survival <= 1, "0 < survival <= 1")
        self.check("per", per in SHARINGS, f"one of {', '.join(SHARINGS)}")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        branch = tf.cast(inputs, tf.float32)
        if not training:
            expected = self.survival + (1 - self.survival) * sum(self.forward) / 2
            return tf.cast(branch * expected, self.compute_dtype)
        seed, shape = self.next_seed(), factor_shape(branch, self.per)
        is_plain = bernoulli(seed, 0, [], self.survival) > 0
        a, b = (uniform(seed, 1 + index, shape, *span) for index, span in enumerate((self.forward, self.backward)))
        one = tf.ones([])
        return tf.cast(scaled(branch, tf.where(is_plain, one, a), tf.where(is_plain, one, b)), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        names = ("survival", "forward", "backward", "per", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
