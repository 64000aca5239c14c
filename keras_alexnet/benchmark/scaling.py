"""Expected speed of data-parallel training, from the work per image, the gradients and the links."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from rich.table import Table

from pipelines.cli.tables import print_table

# Bytes per second in each direction, nominal: NVIDIA's data sheets and the PCI-SIG's and IEEE's standards.
PCIE_4 = 32e9
NVLINK_3 = 300e9
ETHERNET_100 = 12.5e9


@dataclass(frozen=True)
class Work:
    """What a training step of one network needs.

    Attributes:
      flop: floating-point operations per image, forward and backward.
      gradient_bytes: of all gradients of a step.
    """

    flop: float
    gradient_bytes: float


@dataclass(frozen=True)
class Setup:
    """Devices of data-parallel training.

    Attributes:
      devices: number of devices.
      batch: images per device and step.
      flops: floating-point operations per second that a device sustains.
      link: bytes per second that a device sends during an all-reduce.
      input_rate: images per second that the input machines deliver; None if they are no limit.
    """

    devices: int
    batch: int
    flops: float
    link: float
    input_rate: float | None = None


@dataclass(frozen=True)
class Expectation:
    """What is expected of a setup.

    Attributes:
      compute, all_reduce: seconds per step.
      images_per_second: of all devices.
      limit: "compute", "all-reduce" or "input".
    """

    compute: float
    all_reduce: float
    images_per_second: float
    limit: str


def expected(work: Work, setup: Setup) -> Expectation:
    """The time of a step: computation, then a ring all-reduce without overlap; the input limits the images.

    In a ring each of n devices sends `2 (n - 1) / n` times the gradients.

    References:
      - Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69 (2009).
    """
    compute = setup.batch * work.flop / setup.flops
    all_reduce = ring_bytes(work.gradient_bytes, setup.devices) / setup.link if setup.devices > 1 else 0.0
    rate = setup.devices * setup.batch / (compute + all_reduce)
    if setup.input_rate is not None and setup.input_rate < rate:
        return Expectation(compute, all_reduce, setup.input_rate, "input")
    return Expectation(compute, all_reduce, rate, "compute" if compute >= all_reduce else "all-reduce")


def ring_bytes(gradient_bytes: float, devices: int) -> float:
    """Bytes that each device sends in a ring all-reduce."""
    return 2 * (devices - 1) / devices * gradient_bytes


def all_reduce_rate(strategy: tf.distribute.Strategy, size: float, timed: Callable[[Callable], float]) -> float:
    """Bytes per second that each replica of `strategy` sends while gradients of `size` bytes are summed.

    Args:
      timed: function -> its median seconds.
    """
    gradients = tf.ones([int(size / 4)])

    @tf.function
    def step() -> tf.Tensor:
        def reduce() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(gradients))[0]

        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(reduce), axis=None)

    return ring_bytes(size, strategy.num_replicas_in_sync) / timed(lambda: np.asarray(step()))


def print_expectations(
    title: str, work: Work, setups: Mapping[str, Setup], measured: Sequence[float | None] = ()
) -> None:
    """Prints a row per setup.

    Args:
      measured: images per second of the first setups, None for those that were not measured.
    """
    table = Table(title=title, title_justify="left")
    headings = (
        "setup",
        "batch per device",
        "compute ms",
        "all-reduce ms",
        "expected images/s",
        "limit",
        "measured images/s",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("setup", "limit") else "right")
    rates = [*measured, *[None] * (len(setups) - len(measured))]
    for (name, setup), rate in zip(setups.items(), rates, strict=True):
        expectation = expected(work, setup)
        table.add_row(
            name,
            str(setup.batch),
            f"{expectation.compute * 1e3:.1f}",
            f"{expectation.all_reduce * 1e3:.1f}",
            f"{expectation.images_per_second:.5g}",
            expectation.limit,
            "" if rate is None else f"{rate:.5g}",
        )
    print_table(table)
