"""SIGTERM and Ctrl-C, recorded instead of ending the process."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator


class StopRequest:
    """Whether the process has received SIGTERM or Ctrl-C.

    Attributes:
      received: number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        # An Event that is set by a signal handler while it is waited for may deadlock.
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()

    def set(self, number: int) -> None:
        """Records a signal."""
        self.received = number
        self._queue.put(number)

    def wait(self) -> int:
        """Waits for a signal and returns its number."""
        return self._queue.get()

    def raise_if_received(self) -> None:
        """Raises KeyboardInterrupt if a signal was received."""
        if self.received is not None:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_signals(message: str = "stopping after this step (press again to stop at once)") -> Iterator[StopRequest]:
    """Records SIGTERM and Ctrl-C instead of ending the process; a second signal ends it as usual.

    Outside the main thread, where Python allows no signal handlers, nothing is recorded.

    Args:
      message: printed at the first signal; nothing if empty.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)

    def record(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        stop.set(number)
        # The signal may come while something is being printed, which Python refuses to interrupt.
        with contextlib.suppress(RuntimeError):
            if message:
                print(message, flush=True)

    before = {number: signal.signal(number, record) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
