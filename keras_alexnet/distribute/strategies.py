"""tf.distribute strategies by name, and the devices that they use."""

from collections.abc import Sequence

import tensorflow as tf

from keras_alexnet.distribute import STRATEGIES
from keras_alexnet.distribute.cluster import create_multiworker_strategy, has_several_workers
from keras_alexnet.distribute.towers import TowerMirroredStrategy

# Megabytes of each part of a split GPU: TensorFlow wants a limit, and a step of 128 images at full width needs less.
_PART_MEMORY = 4096


def split_cpu(devices: int) -> None:
    """Splits the CPU into logical devices CPU:0, CPU:1, ..., to run placements without GPUs.

    Raises:
      ValueError: if TensorFlow has already started with another number of devices.
    """
    _split("CPU", [tf.config.LogicalDeviceConfiguration()] * devices)


def split_device(devices: int) -> str:
    """Splits the only GPU, or without a GPU the CPU, into logical devices.

    With several GPUs there is no need to split one: the CPU is split then.

    Returns:
      The kind of the devices, "GPU" or "CPU".

    Raises:
      ValueError: if TensorFlow has already started with another number of devices.
    """
    if len(tf.config.get_visible_devices("GPU")) != 1:
        split_cpu(devices)
        return "CPU"
    _split("GPU", [tf.config.LogicalDeviceConfiguration(memory_limit=_PART_MEMORY)] * devices)
    return "GPU"


def _split(kind: str, parts: list[tf.config.LogicalDeviceConfiguration]) -> None:
    try:
        tf.config.set_logical_device_configuration(tf.config.get_visible_devices(kind)[0], parts)
    except RuntimeError as error:
        found = len(tf.config.list_logical_devices(kind))
        if found != len(parts):
            raise ValueError(
                f"virtual_devices={len(parts)}: TensorFlow has already started with {found} {kind} device(s)"
            ) from error


def make_strategy(
    name: str = "auto", virtual_devices: int = 0, devices: Sequence[str] | None = None
) -> tf.distribute.Strategy:
    """Creates the tf.distribute strategy with a name in STRATEGIES.

    Args:
      name: "single" (one device, no distribution), "mirrored" (one replica a device), "towers" (one replica a pair of
        devices), "multiworker" (the processes in TF_CONFIG, see `keras_alexnet.distribute.cluster`), or "auto":
        multiworker if TF_CONFIG describes several workers, else mirrored if there are several devices, else single.
      virtual_devices: if not 0, the number of logical devices that are used, into which the only GPU, or without a GPU
        the CPU, is split.
      devices: device names such as `["GPU:0", "GPU:2"]`; for "towers", consecutive pairs. All GPUs, or all virtual
        devices, if not given.

    Raises:
      ValueError: if the name or a device is unknown, a device is repeated, or their number does not suit the strategy.

    Examples:
        >>> make_strategy("mirrored", virtual_devices=2).num_replicas_in_sync
        2
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy={name!r}: expected one of {', '.join(STRATEGIES)}")
    if name == "multiworker" or (name == "auto" and has_several_workers()):
        if virtual_devices or devices:
            given = f"virtual_devices={virtual_devices}" if virtual_devices else f"devices={','.join(devices or ())}"
            raise ValueError(f"{given}: strategy=multiworker uses all GPUs of each process (see CUDA_VISIBLE_DEVICES)")
        return create_multiworker_strategy()
    kind = split_device(virtual_devices) if virtual_devices else "GPU"
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
        raise ValueError(
            f"strategy={name}: needs at least 2 {'devices' if hint == '' else 'GPUs'}; found {found}{hint}"
        )
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(names)
    if len(names) % 2:
        raise ValueError(f"strategy=towers: needs pairs of devices; found {len(names)} ({', '.join(names)})")
    return TowerMirroredStrategy(names)


def strategy_name(strategy: tf.distribute.Strategy) -> str:
    """The name of `strategy` in STRATEGIES, other than "auto"."""
    names = {
        TowerMirroredStrategy: "towers",
        tf.distribute.MirroredStrategy: "mirrored",
        tf.distribute.MultiWorkerMirroredStrategy: "multiworker",
    }
    return names.get(type(strategy), "single")


def device_names(kind: str | None = None) -> list[str]:
    """Names of the logical devices, such as "CPU:0" and "GPU:0", of one `kind` if given. Initializes the devices."""
    devices = tf.config.list_logical_devices(kind)
    return [device.name.removeprefix("/device:") for device in devices if device.device_type in ("CPU", "GPU")]


def checked_devices(devices: Sequence[str]) -> list[str]:
    """Normalizes device names; a ValueError if one does not exist or is repeated."""
    names, found = [device.strip().upper().removeprefix("/") for device in devices], device_names()
    for name in names:
        if name not in found:
            raise ValueError(f"devices={','.join(devices)}: there is no {name}; found {', '.join(found)}")
        if names.count(name) > 1:
            raise ValueError(f"devices={','.join(devices)}: {name} is named twice")
    return names
