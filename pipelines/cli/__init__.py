"""What commands share: their start, flags, errors and signals, and how files and text that users give are treated.

`progress`, `regular_files`, `safe_text` and `literal_path` are imported as modules, by libraries too; they need none of
the others.
"""

from pipelines.cli.command import UsageError, define_path, define_paths, reason_of, run, with_flag
from pipelines.cli.signals import StopRequest, stop_signals

__all__ = [
    "StopRequest",
    "UsageError",
    "define_path",
    "define_paths",
    "reason_of",
    "run",
    "stop_signals",
    "with_flag",
]
