"""Device placement of towers: MirroredStrategy with manual device scopes.

The number of towers belongs to the network. Layers create the variables of a tower in `with tower(index):` and compute
its operations by `on_tower(index, ...)`. Only under a `TowerMirroredStrategy` do these change a device.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

_current_tower: contextvars.ContextVar[int] = contextvars.ContextVar("tower", default=0)


@contextlib.contextmanager
def tower(index: int) -> Iterator[None]:
    """Places the variables created and the operations run in the block on the device of tower `index`, 0 or 1.

    Under a `TowerMirroredStrategy` tower 1 is on the partner of the replica's device. Otherwise this has no effect.
    Gradients of operations in the block are not placed; use `on_tower` for these.
    """
    token = _current_tower.set(index)
    try:
        partner = _partner(index)
        with contextlib.nullcontext() if partner is None else tf.device(partner):
            yield
    finally:
        _current_tower.reset(token)


def on_tower(index: int, function: Callable[..., Any], *tensors: Any) -> Any:
    """Computes `function(*tensors)`, a tensor or a list of tensors, and its gradient on the device of tower `index`.

    Tensors and variables that gradients flow to must be among `tensors`. A device scope alone is not enough: a
    GradientTape computes gradients in the scope that surrounds the tape.
    """
    partner = _partner(index)
    if partner is None:
        return function(*tensors)

    @tf.custom_gradient
    def placed(*tensors: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = function(*tensors)

        def gradient(*upstream: tf.Tensor) -> Any:
            with tf.device(partner):
                return tape.gradient(outputs, tensors, list(upstream) if isinstance(outputs, list) else upstream[0])

        return outputs, gradient

    with tower(index):
        return placed(*(tf.convert_to_tensor(tensor) for tensor in tensors))


def per_tower(function: Callable[[Any], Any], towers: Any) -> Any:
    """Applies `function` to each tower on its device: a list for a list, a tensor for a single tensor."""
    if not isinstance(towers, list | tuple):
        return function(towers)
    return [on_tower(index, function, values) for index, values in enumerate(towers)]


def read_by(readers: int, towers: list) -> list[list]:
    """Copies of all `towers` for each of `readers` towers, so that gradients are added on the device of the source.

    Without the copies, the gradients of a tensor from all readers would be added on the replica's own device.
    """
    copies = [
        [values] * readers
        if readers == 1 or _partner(index) is None
        else on_tower(index, lambda values: [tf.identity(values) for _ in range(readers)], values)
        for index, values in enumerate(towers)
    ]
    return [[copy[reader] for copy in copies] for reader in range(readers)]


def _partner(index: int) -> str | None:
    """The device of tower `index`, or None if it is the replica's own."""
    strategy = tf.distribute.get_strategy()
    replica = tf.distribute.get_replica_context()
    if index == 0 or replica is None or not isinstance(strategy, TowerMirroredStrategy):
        return None
    # With one replica this is a name in a tuple in a tuple, with several a name in a tuple.
    return strategy.partner_of(tf.nest.flatten(replica.devices)[0])


class TowerMirroredStrategy(tf.distribute.MirroredStrategy):
    """MirroredStrategy whose replicas use two devices each: the paper's two-GPU scheme (section 3.2), and multiples.

    Variables, momentum and operations of tower 0 are on the first device of a pair, those of tower 1 on the second.
    Activations cross only into layers with full connectivity (conv3, fc6, fc7 and fc8 in the paper).

    Args:
      devices: device names such as `["GPU:0", "GPU:1"]`, consecutive pairs. All GPUs by default.

    Raises:
      ValueError: if the number of devices is odd or zero, or a device is repeated or does not exist.

    Example:

    ```python
    strategy = keras_alexnet.TowerMirroredStrategy(["GPU:0", "GPU:1"])
    with strategy.scope():
        model = keras_alexnet.AlexNet(classes=10)
        model.compile(keras_alexnet.PaperSGD(), "sparse_categorical_crossentropy")
    ```
    """

    def __init__(self, devices: list[str] | None = None):
        if devices is None:
            devices = [device.name for device in tf.config.list_logical_devices("GPU")]
        if not devices or len(devices) % 2:
            raise ValueError(f"devices={devices}: expected pairs of devices, an even number of at least 2")
        if len({_short(device) for device in devices}) < len(devices):
            raise ValueError(f"devices={devices}: expected different devices")
        existing = [_short(device.name) for device in tf.config.list_logical_devices()]
        if not {_short(device) for device in devices} <= set(existing):
            found = ", ".join(name.removeprefix("/device:") for name in existing)
            raise ValueError(f"devices={devices}: expected some of {found}")
        self._partners = {
            _short(first): _short(second) for first, second in zip(devices[::2], devices[1::2], strict=True)
        }
        # An all-reduce would bring the gradients of all towers to the devices of tower 0, which are the replicas' own.
        super().__init__(devices[::2], cross_device_ops=tf.distribute.ReductionToOneDevice())

    def partner_of(self, device: str) -> str:
        """The second device of the pair that begins with `device`."""
        return self._partners[_short(device)]

    def sum_at(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
        """Sums gradients over all replicas; returns this replica's copies, each on the device of its variable."""

        def reduce(strategy: tf.distribute.Strategy, *gradients: tf.Tensor) -> Any:
            pairs = list(zip(gradients, variables, strict=True))
            return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

        return tf.distribute.get_replica_context().merge_call(reduce, args=gradients)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """As MirroredStrategy.scope(); variables of tower 1 are created on the partner devices."""

        # A device scope around variable creation would be overridden by MirroredStrategy, which enters its own
        # per replica. A creator that is registered outside its scope is called innermost, once per replica.
        def creator(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
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
    """Name of the current device, outside of graphs."""
    return tf.constant(0).device
