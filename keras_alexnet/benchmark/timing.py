"""Interleaved timing: contenders take turns, so that a change of the machine's speed affects all of them."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# Seconds between turns, in which threads that wait actively for more work fall asleep.
_PAUSE = 0.05


@dataclass(frozen=True)
class Contender:
    """What is timed.

    Attributes:
      run: gets what `start` returned, if there is a `start`; its result is converted to NumPy, which waits for the
        device.
      start: runs before each turn and is not timed.
    """

    run: Callable[..., object]
    start: Callable[[], object] | None = None


@dataclass
class Times:
    """The turns of a contender.

    Attributes:
      clock, processor: seconds of each turn; processor seconds are those of all threads of this process.
      memory: the most bytes that a turn added to the resident memory of the process; None if the system does not say.
    """

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: int | None = None


def interleaved(contenders: Mapping[str, Contender | Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Times contenders that take turns.

    Args:
      contenders: name -> contender, or its function.
      repeats: timed rounds, after two that are not timed. Each contender runs once per round.
    """
    times = {name: Times() for name in contenders}
    for turn in range(repeats + 2):
        for name, contender in contenders.items():
            given = contender if isinstance(contender, Contender) else Contender(contender)
            clock, processor, memory = _turn(given)
            # Memory that a contender allocates at its first turn and keeps belongs to it.
            if memory is not None:
                times[name].memory = max(memory, times[name].memory or 0)
            if turn >= 2:
                times[name].clock.append(clock)
                times[name].processor.append(processor)
    return times


def _turn(contender: Contender) -> tuple[float, float, int | None]:
    arguments: list[Any] = [contender.start()] if contender.start else []
    time.sleep(_PAUSE)
    before = _resident("VmRSS")
    with contextlib.suppress(OSError):
        # Makes the current resident memory the peak (Linux, proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
    clock, processor = time.perf_counter(), time.process_time()
    np.asarray(contender.run(*arguments))
    seconds = time.perf_counter() - clock, time.process_time() - processor
    peak = _resident("VmHWM")
    return *seconds, None if before is None or peak is None else max(peak - before, 0)


def _resident(name: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return None
