"""What a training run consists of, resolved once from its configuration and passed down."""

import dataclasses
from dataclasses import dataclass

import tensorflow as tf

from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.distribute.towers import TowerMirroredStrategy
from keras_alexnet.networks import Network, find, parse_options
from keras_alexnet.provenance import has_bfloat16, processor_instructions
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingContext:
    """The parts of a training run.

    Attributes:
      config: the configuration.
      network: the registry's entry of the network, with the constants of training that the configuration sets.
      strategy: the tf.distribute strategy.
      cluster: the processes that train together; often only this one.
      run_directory: the files of the run.
    """

    config: TrainingConfig
    network: Network
    strategy: tf.distribute.Strategy
    cluster: Cluster
    run_directory: RunDirectory


def create_context(config: TrainingConfig) -> TrainingContext:
    """Resolves a configuration. Initializes TensorFlow's devices; with several workers, waits for all of them.

    Raises:
      ValueError: if the strategy, the devices and the network do not fit together, the batch size is not a multiple of
        the replicas, or the workers have different configurations.
    """
    network = _with_constants(config, find(config.network))
    _check_options(config, network)
    strategy = make_strategy(config.strategy, config.virtual_devices, config.devices)
    if isinstance(strategy, TowerMirroredStrategy) and network.towers < 2:
        raise ValueError(f"strategy=towers: expected a network with two towers; {network.name} has none")
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise ValueError(f"batch_size={config.batch_size}: expected a multiple of the {replicas} replicas")
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    _warn_of_slow_bfloat16(config)
    cluster = Cluster(strategy)
    # Machines may keep their datasets in different places.
    cluster.expect_same({name: value for name, value in vars(config).items() if name not in ("data_dir", "model_dir")})
    assert config.model_dir is not None
    return TrainingContext(config, network, strategy, cluster, RunDirectory(config.model_dir))


def _with_constants(config: TrainingConfig, network: Network) -> Network:
    """`network` with the constants of training that the configuration sets in place of the network's own."""
    if config.weight_decay is not None:
        network = dataclasses.replace(network, weight_decay=config.weight_decay)
    if config.aux_loss_weight is not None:
        count = len(network.aux_loss_weights)
        if not count:
            raise ValueError(
                f"aux_loss_weight={config.aux_loss_weight}: {network.name} trains no auxiliary outputs; expected none"
            )
        network = dataclasses.replace(network, aux_loss_weights=(config.aux_loss_weight,) * count)
    return network


def _check_options(config: TrainingConfig, network: Network) -> None:
    """Raises ValueError for an option that the network does not have, or that has a flag of its own."""
    accepted = ", ".join(option for option in network.options if option != "mean") or "none"
    for name in ("width", "init"):
        value = getattr(config, name)
        if value != getattr(TrainingConfig(), name) and name not in network.options:
            raise ValueError(f"{name}={value}: {network.name} has no such option; it accepts {accepted}")
    for name, value in parse_options(config.network_options).items():
        if name == "mean" or (name in ("width", "init") and ":" not in network.name):
            raise ValueError(f"network_options={name}={value}: expected options other than width, init and mean")
        if name not in network.options:
            raise ValueError(
                f"network_options={name}={value}: {network.name} has no such option; it accepts {accepted}"
            )


def _warn_of_slow_bfloat16(config: TrainingConfig) -> None:
    if config.mixed_precision != "bfloat16" or tf.config.list_physical_devices("GPU"):
        return
    instructions = processor_instructions()
    if instructions and not has_bfloat16(instructions):
        print(
            "mixed_precision=bfloat16: no bfloat16 instructions can be used on this machine; float32 is faster here",
            flush=True,
        )
