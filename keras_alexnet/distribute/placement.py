"""Which device holds which tower of which layer."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_alexnet.distribute.strategies import strategy_name
from keras_alexnet.distribute.towers import current_device, tower


class Placement(NamedTuple):
    """Devices of one tower of one layer, such as "GPU:0", one per replica; empty where a layer has none of them."""

    layer: str
    tower: int
    operations: tuple[str, ...]
    weights: tuple[str, ...]
    momentums: tuple[str, ...]


def placement_table(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> list[Placement]:
    """Lists the devices of each tower of each layer.

    Weights and momentums have the device of their variables. Operations have the device that is current when a replica
    enters the tower; those of layers that work on all towers at once are listed as tower 0's.

    Args:
      model: built under `strategy.scope()`.
      optimizer: a PaperSGD, built; the model's by default. Without one, momentums are empty.
      strategy: the current one by default.
    """
    strategy = strategy or tf.distribute.get_strategy()
    optimizer = optimizer or getattr(model, "optimizer", None)
    momentums = getattr(getattr(optimizer, "inner_optimizer", optimizer), "momentums", [])
    by_weight = dict(zip((weight.path for weight in model.trainable_variables), momentums, strict=False))
    entered = _devices_of_towers(strategy)
    rows = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        for index in range(len(outputs)):
            weights = [weight for weight in layer.weights if weight.path.endswith(f"_{index}")]
            slots = [by_weight[weight.path] for weight in weights if weight.path in by_weight]
            at = 0 if getattr(layer, "across", None) == "all" else index
            rows.append(Placement(layer.name, index, entered[at], _where(weights, strategy), _where(slots, strategy)))
    return rows


def _devices_of_towers(strategy: tf.distribute.Strategy) -> list[tuple[str, ...]]:
    """Devices of all replicas, for tower 0 and for tower 1."""
    found: dict[tuple[int, int], str] = {}
    otherwise = current_device()

    @tf.function(autograph=False)
    def trace() -> None:
        strategy.run(enter)

    def enter() -> None:
        replica = int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))
        for index in (0, 1):
            with tower(index):
                found[index, replica] = _short(tf.constant(0).device or otherwise)

    trace.get_concrete_function()
    return [tuple(device for (at, _), device in sorted(found.items()) if at == index) for index in (0, 1)]


def _where(variables: list, strategy: tf.distribute.Strategy) -> tuple[str, ...]:
    """Devices of a tower's variables, one per replica; "CPU:0+CPU:1" if they differ within a replica."""
    copies = [strategy.experimental_local_results(variable.value) for variable in variables]
    return tuple("+".join(sorted({_short(copy.device) for copy in replica})) for replica in zip(*copies, strict=True))


def _short(device: str) -> str:
    spec = tf.DeviceSpec.from_string(device)
    return f"{spec.device_type}:{spec.device_index}"


def placement_text(rows: Sequence[Placement], strategy: tf.distribute.Strategy) -> str:
    """`placement_table` as text: one line if all devices are the same, else one line per layer."""
    name = strategy_name(strategy)
    devices = {devices for row in rows for devices in row[2:] if devices}
    if len(devices) == 1:
        return f"strategy {name}: every layer and its variables on {' and '.join(devices.pop())}"
    cells = {(row.layer, row.tower): _cell(row) for row in rows}
    layers, width = list(dict.fromkeys(row.layer for row in rows)), max(map(len, cells.values()))
    lines = [f"strategy {name}, * with weights and momentums:", f"{'layer':<18}{'tower 0':<{width + 2}}tower 1"]
    lines += [f"{layer:<18}{cells[layer, 0]:<{width + 2}}{cells.get((layer, 1), '')}".rstrip() for layer in layers]
    return "\n".join(lines)


def _cell(row: Placement) -> str:
    parts = {name: devices for name, devices in row._asdict().items() if name not in ("layer", "tower") and devices}
    if len(set(parts.values())) == 1:
        return f"{' '.join(row.operations)}{' *' if row.weights else ''}"
    return ", ".join(f"{name} {' '.join(devices)}" for name, devices in parts.items())
