"""Runs the project's commands in subprocesses."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from pipelines.cli import stop_signals

_POLL_S = 0.5
# 128 + the signal's number: SIGINT and SIGTERM, after which the train command has saved its run.
_INTERRUPTED = (128 + 2, 128 + 15)


class RunInterrupted(Exception):  # noqa: N818 (not an error: the user requested it)
    """A command was interrupted; what it saved is complete, and the same experiment command resumes."""


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises `RunInterrupted`, where no command runs that it is forwarded to. For the main thread."""

    def interrupt(number: int, frame: object) -> None:
        raise RunInterrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_command(module: str, *arguments: str) -> None:
    """Runs `python -m module arguments`, and forwards SIGTERM and Ctrl-C to it, after which it saves its work.

    Raises:
      RunInterrupted: it was interrupted.
      ValueError: it failed; the reason is in what it printed.
    """
    command = [sys.executable, "-m", module, *arguments]
    # In a session of its own the command does not receive Ctrl-C itself as well: a second signal would end it at once.
    with stop_signals(message="") as stop, subprocess.Popen(command, start_new_session=True) as process:
        is_forwarded = False
        while process.poll() is None:
            if stop.received is not None and not is_forwarded:
                process.send_signal(stop.received)
                is_forwarded = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_POLL_S)
    # A command that saves nothing may end by the signal itself, or may have been done already.
    if stop.received is not None or process.returncode in _INTERRUPTED:
        raise RunInterrupted
    if process.returncode:
        raise ValueError(f"{module} ended with exit code {process.returncode}; see above")
