"""What a training run consists of, resolved once from its configuration and passed down."""

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.distribute.towers import TowerMirroredStrategy
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.variants import Variant, find_variant


@dataclass(frozen=True)
class TrainingContext:
    """The parts of a training run.

    Attributes:
      config: the configuration.
      variant: the network, not scaled by `config.width`.
      strategy: the tf.distribute strategy.
      cluster: the processes that train together; often only this one.
      run_directory: the files of the run.
    """

    config: TrainingConfig
    variant: Variant
    strategy: tf.distribute.Strategy
    cluster: Cluster
    run_directory: RunDirectory


def create_context(config: TrainingConfig) -> TrainingContext:
    """Resolves a configuration. Initializes TensorFlow's devices; with several workers, waits for all of them.

    Raises:
      ValueError: if the strategy, the devices and the network do not fit together, the batch size is not a multiple of
        the replicas, or the workers have different configurations.
    """
    variant = find_variant(config.variant)
    strategy = make_strategy(config.strategy, config.virtual_devices, config.devices)
    if isinstance(strategy, TowerMirroredStrategy) and variant.towers < 2:
        raise ValueError(f"strategy=towers: expected a network with two towers; {variant.name} has one")
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
    return TrainingContext(config, variant, strategy, cluster, RunDirectory(config.model_dir))


def _warn_of_slow_bfloat16(config: TrainingConfig) -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if config.mixed_precision != "bfloat16" or tf.config.list_physical_devices("GPU") or not cpuinfo.exists():
        return
    if not {"avx512_bf16", "amx_bf16"} & set(cpuinfo.read_text().split()):
        print(
            "mixed_precision=bfloat16: this processor has no bfloat16 instructions; float32 is faster here", flush=True
        )
