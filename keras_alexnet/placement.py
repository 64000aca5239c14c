"""Where a network runs: which strategy, on which devices, and what is where in the end."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_alexnet import workers
from keras_alexnet.towers import TowerMirroredStrategy, current_device, tower

STRATEGIES = ("auto", "single", "mirrored", "towers", "multiworker")


def split_cpu(devices: int) -> None:
    """Makes the CPU look like `devices` devices, CPU:0 and up, to try out placements without GPUs.

    Raises:
      ValueError: if TensorFlow has run something already, with another number of devices.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    except RuntimeError as error:
        found = len(tf.config.list_logical_devices("CPU"))
        if found != devices:
            raise ValueError(
                f"virtual_devices={devices}: TensorFlow runs already, with {found} CPU device(s); expected nothing to "
                "have run before"
            ) from error


def make_strategy(
    name: str = "auto", virtual_devices: int = 0, devices: Sequence[str] | None = None
) -> tf.distribute.Strategy:
    """The tf.distribute strategy for a name in STRATEGIES.

    Args:
      name: "single" (one device, no distribution), "mirrored" (one replica a device), "towers" (one replica a pair of
        devices), "multiworker" (the processes that TF_CONFIG names, see `keras_alexnet.workers`), or "auto":
        multiworker where TF_CONFIG names several, mirrored where there are several devices to use, else single.
      virtual_devices: if not 0, the CPU is split into so many devices, and these are used.
      devices: what to use, such as `["GPU:0", "GPU:2"]`; for towers pair after pair. All GPUs, or all virtual devices,
        if not given.

    Raises:
      ValueError: if the name or a device is unknown, a device is named twice, or their number does not fit.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy={name!r} is unknown; expected one of {', '.join(STRATEGIES)}")
    if name == "multiworker" or (name == "auto" and workers.are_several()):
        if virtual_devices or devices:
            given = f"virtual_devices={virtual_devices}" if virtual_devices else f"devices={','.join(devices)}"
            raise ValueError(f"{given}: strategy=multiworker uses all GPUs of each process (see CUDA_VISIBLE_DEVICES)")
        return workers.connected_strategy()
    if virtual_devices:
        split_cpu(virtual_devices)
    kind = "CPU" if virtual_devices else "GPU"
    names = checked_devices(devices) if devices else device_names(kind)
    if name == "auto":
        name = "mirrored" if len(names) > 1 else "single"
    if name == "single":
        if not devices:
            return tf.distribute.get_strategy()
        if len(names) > 1:
            raise ValueError(f"devices={','.join(names)}: strategy=single uses one; found {len(names)}")
        return tf.distribute.OneDeviceStrategy(f"/{names[0]}")
    if len(names) < 2:
        found = f"{len(names)} ({', '.join(names)})" if names else "none"
        hint = "" if devices or virtual_devices else ". virtual_devices=2 splits the CPU to try it without"
        raise ValueError(f"strategy={name} needs at least 2 {'devices' if hint == '' else 'GPUs'}; found {found}{hint}")
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(names)
    if len(names) % 2:
        raise ValueError(f"strategy=towers needs pairs of devices; found {len(names)} ({', '.join(names)})")
    return TowerMirroredStrategy(names)


def strategy_name(strategy: tf.distribute.Strategy) -> str:
    """Which of STRATEGIES `strategy` is; what "auto" has chosen."""
    names = {
        TowerMirroredStrategy: "towers",
        tf.distribute.MirroredStrategy: "mirrored",
        tf.distribute.MultiWorkerMirroredStrategy: "multiworker",
    }
    return names.get(type(strategy), "single")


def device_names(kind: str | None = None) -> list[str]:
    """What TensorFlow may use: "CPU:0", "GPU:0" and so on; of one kind only if `kind` says so. Starts TensorFlow."""
    devices = tf.config.list_logical_devices(kind)
    return [device.name.removeprefix("/device:") for device in devices if device.device_type in ("CPU", "GPU")]


def checked_devices(devices: Sequence[str]) -> list[str]:
    """The names in capitals, all found to exist, none twice; else a ValueError."""
    names, found = [device.strip().upper().removeprefix("/") for device in devices], device_names()
    for name in names:
        if name not in found:
            raise ValueError(f"devices={','.join(devices)}: there is no {name}; found {', '.join(found)}")
        if names.count(name) > 1:
            raise ValueError(f"devices={','.join(devices)}: {name} is named twice")
    return names


class Placement(NamedTuple):
    """Where one tower of one layer is: names such as "GPU:0", one a replica; empty where a layer has no such thing."""

    layer: str
    tower: int
    operations: tuple[str, ...]
    weights: tuple[str, ...]
    velocities: tuple[str, ...]


def placement_table(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> list[Placement]:
    """Where the layers of `model` are, tower by tower.

    Weights and velocities are looked up where they are. Operations are told by the device that each replica has
    when it enters a tower; those of layers that work on all towers at once count as tower 0's.

    Args:
      model: built under `strategy.scope()`.
      optimizer: a PaperSGD, built; the model's by default. Without one, no velocities are shown.
      strategy: the current one by default.
    """
    strategy = strategy or tf.distribute.get_strategy()
    optimizer = optimizer or getattr(model, "optimizer", None)
    velocities = getattr(getattr(optimizer, "inner_optimizer", optimizer), "velocities", [])
    by_weight = dict(zip((weight.path for weight in model.trainable_variables), velocities, strict=False))
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
    """For towers 0 and 1 the device of each replica."""
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
    """The devices of a tower's variables, one a replica; of a replica whose variables are apart, all: "CPU:0+CPU:1"."""
    copies = [strategy.experimental_local_results(variable.value) for variable in variables]
    return tuple("+".join(sorted({_short(copy.device) for copy in replica})) for replica in zip(*copies, strict=True))


def _short(device: str) -> str:
    spec = tf.DeviceSpec.from_string(device)
    return f"{spec.device_type}:{spec.device_index}"


def placement_text(rows: Sequence[Placement], strategy: tf.distribute.Strategy) -> str:
    """`placement_table` to be read: a line if everything is on the same devices, else a line a layer."""
    name = strategy_name(strategy)
    devices = {devices for row in rows for devices in row[2:] if devices}
    if len(devices) == 1:
        return f"strategy {name}: every layer and its variables on {' and '.join(devices.pop())}"
    cells = {(row.layer, row.tower): _cell(row) for row in rows}
    layers, width = list(dict.fromkeys(row.layer for row in rows)), max(map(len, cells.values()))
    lines = [f"strategy {name}, * with weights and their velocities:", f"{'layer':<18}{'tower 0':<{width + 2}}tower 1"]
    lines += [f"{layer:<18}{cells[layer, 0]:<{width + 2}}{cells.get((layer, 1), '')}".rstrip() for layer in layers]
    return "\n".join(lines)


def _cell(row: Placement) -> str:
    parts = {name: devices for name, devices in row._asdict().items() if name not in ("layer", "tower") and devices}
    if len(set(parts.values())) == 1:
        return f"{' '.join(row.operations)}{' *' if row.weights else ''}"
    return ", ".join(f"{name} {' '.join(devices)}" for name, devices in parts.items())
