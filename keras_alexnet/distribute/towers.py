"""On which device each tower lives, under MirroredStrategy with manual device scopes.

The network says how many towers there are. The layers create what belongs to one tower in `with tower(index):` and
compute it by `on_tower(index, ...)`. Only a `TowerMirroredStrategy` makes a difference.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

_current_tower: contextvars.ContextVar[int] = contextvars.ContextVar("tower", default=0)


@contextlib.contextmanager
def tower(index: int) -> Iterator[None]:
    """Variables created and operations run inside belong to tower `index` (0 or 1 in the paper's network).

    Under a `TowerMirroredStrategy` tower 1 is placed on the partner of the replica's device. Under any other
    strategy, and under none, this changes nothing. Gradients of what is computed inside are not placed: `on_tower`.
    """
    token = _current_tower.set(index)
    try:
        partner = _partner(index)
        with contextlib.nullcontext() if partner is None else tf.device(partner):
            yield
    finally:
        _current_tower.reset(token)


def on_tower(index: int, function: Callable[..., Any], *tensors: Any) -> Any:
    """`function(*tensors)`, a tensor or a list of tensors, computed where tower `index` lives, and its gradient too.

    What the gradient is to reach must be among `tensors`; variables may be. A device scope alone is not enough: a
    GradientTape computes gradients under the scope that surrounds the tape.
    """
    partner = _partner(index)
    if partner is None:
        return function(*tensors)

    @tf.custom_gradient
    def placed(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = function(*tensors)

        def gradient(*upstream):
            with tf.device(partner):
                return tape.gradient(outputs, tensors, list(upstream) if isinstance(outputs, list) else upstream[0])

        return outputs, gradient

    with tower(index):
        return placed(*(tf.convert_to_tensor(tensor) for tensor in tensors))


def per_tower(function: Callable[[Any], Any], towers: Any) -> Any:
    """`function` of each tower's tensor, run where that tower lives: a list, or a tensor if `towers` is just one."""
    if not isinstance(towers, list | tuple):
        return function(towers)
    return [on_tower(index, function, values) for index, values in enumerate(towers)]


def read_by(readers: int, towers: list) -> list[list]:
    """For each of `readers` towers what it is to read of `towers`, so that gradients meet where a tensor comes from.

    Else the parts of a tensor's gradient, one from each reader, would be added up on the replica's own device.
    """
    copies = [
        [values] * readers
        if readers == 1 or _partner(index) is None
        else on_tower(index, lambda values: [tf.identity(values) for _ in range(readers)], values)
        for index, values in enumerate(towers)
    ]
    return [[copy[reader] for copy in copies] for reader in range(readers)]


def _partner(index: int) -> str | None:
    """The device of tower `index`, if it is not the replica's own."""
    strategy = tf.distribute.get_strategy()
    replica = tf.distribute.get_replica_context()
    if index == 0 or replica is None or not isinstance(strategy, TowerMirroredStrategy):
        return None
    # With one replica this is a name in a tuple in a tuple, with several a name in a tuple.
    return strategy.partner_of(tf.nest.flatten(replica.devices)[0])


class TowerMirroredStrategy(tf.distribute.MirroredStrategy):
    """MirroredStrategy whose replicas span two devices each: the paper's two-GPU scheme, and multiples of it.

    Tower 0's variables, momentum and operations are on the first device of a pair, tower 1's on the second;
    activations cross only into the layers that read all towers (conv3, fc6, fc7 and fc8 in the paper).

    Args:
      devices: device names such as `["GPU:0", "GPU:1"]`, an even number, pair after pair. All GPUs by default.

    Raises:
      ValueError: if the number of devices is odd or zero, or a device is named twice.
    """

    def __init__(self, devices: list[str] | None = None):
        if devices is None:
            devices = [device.name for device in tf.config.list_logical_devices("GPU")]
        if not devices or len(devices) % 2:
            raise ValueError(
                f"towers need pairs of devices: an even number of them, at least 2; found {len(devices)} {devices}"
            )
        if len({_short(device) for device in devices}) < len(devices):
            raise ValueError(f"towers need devices of their own; found {devices}")
        self._partners = {
            _short(first): _short(second) for first, second in zip(devices[::2], devices[1::2], strict=True)
        }
        # An all-reduce would bring the gradients of all towers to the devices of tower 0, which are the replicas' own.
        super().__init__(devices[::2], cross_device_ops=tf.distribute.ReductionToOneDevice())

    def partner_of(self, device: str) -> str:
        """The second device of the pair whose first one is `device`."""
        return self._partners[_short(device)]

    def sum_at(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
        """This replica's copies of the gradients' sums over all replicas, each on the device of its variable."""

        def reduce(strategy, *gradients):
            pairs = list(zip(gradients, variables, strict=True))
            return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

        return tf.distribute.get_replica_context().merge_call(reduce, args=gradients)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """As MirroredStrategy.scope(), and tower 1's variables are created on the partner devices."""

        # A device scope around variable creation would be overridden by MirroredStrategy, which enters its own
        # per replica. A creator that is registered outside its scope is called innermost, once per replica.
        def creator(next_creator, **kwargs):
            if _current_tower.get() == 0:
                return next_creator(**kwargs)
            with tf.device(self.partner_of(current_device())):
                return next_creator(**kwargs)

        with tf.variable_creator_scope(creator), super().scope():
            yield


def _short(device: str) -> str:
    spec = tf.DeviceSpec.from_string(device if device.startswith("/") else f"/device:{device}")
    return f"/device:{spec.device_type}:{spec.device_index or 0}"


def current_device() -> str:
    """Name of the device that the surrounding device scope points to, outside of graphs."""
    return tf.constant(0).device
