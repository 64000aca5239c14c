"""Runs the project's commands as processes of their own, and says which revision of the project they are."""

import contextlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from pipelines.cli import stop_signals

_POLL_S = 0.5
# 128 + the signal's number: SIGINT and SIGTERM, after which the train command has saved its run.
_INTERRUPTED = (128 + 2, 128 + 15)


class RunInterrupted(Exception):  # noqa: N818 (not an error: the user requested it)
    """Training was interrupted; its run directory is complete and can be resumed."""


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
    if process.returncode in _INTERRUPTED:
        raise RunInterrupted
    if process.returncode:
        raise ValueError(f"{module} ended with exit code {process.returncode}; see above")


def revision() -> str:
    """The revision of a checkout, with "+" if files were changed; the version of an installed package."""
    root = Path(__file__).parents[2]
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--abbrev=7", "--dirty=+", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        found = None
    if found and found.returncode == 0 and (root / ".git").exists():
        return found.stdout.strip()
    return importlib.metadata.version("keras-alexnet")
