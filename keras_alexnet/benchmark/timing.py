"""Interleaved timing: contenders take turns, so that a change of the machine's speed affects all of them."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from rich.console import Console
from rich.table import Table


def interleaved(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Times contenders that take turns.

    Args:
      contenders: name -> function; its result is converted to NumPy, which waits for the device.
      repeats: timed rounds, after two that are not timed. Each contender runs once per round.

    Returns:
      Name -> median wall-clock seconds and median processor seconds.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats + 2):
        for name, step in contenders.items():
            clock, processor = time.perf_counter(), time.process_time()
            np.asarray(step())
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: tuple(np.median(times[2:], axis=0).tolist()) for name, times in seconds.items()}


def print_table(title: str, medians: dict[str, tuple[float, float]], images: int) -> None:
    """Prints the times of each contender for `images` images, and their ratios to the first one."""
    table = Table(title=title, title_justify="left")
    for heading in ("contender", "ms", "ms/image", "images/s", "ratio", "ratio of processor time"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    first = next(iter(medians.values()))
    for name, times in medians.items():
        cells = (f"{times[0] * 1e3:.0f}", f"{times[0] * 1e3 / images:.1f}", f"{images / times[0]:.1f}")
        table.add_row(name, *cells, *(f"{mine / reference:.2f}" for mine, reference in zip(times, first, strict=True)))
    Console().print(table)
