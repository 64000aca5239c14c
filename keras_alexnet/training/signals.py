"""Stopping a training by SIGTERM or Ctrl-C between two steps."""

import contextlib
import signal
from collections.abc import Iterator


class TrainingInterrupted(Exception):  # noqa: N818 (no error: the user asked for it)
    """SIGTERM or Ctrl-C came, and the run has been saved. `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and Ctrl-C instead of dying of them; the second one kills as usual."""
    caught: list[int] = []

    def catch(number: int, frame) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)
        print("stopping after this step (once more to stop at once)", flush=True)

    before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
