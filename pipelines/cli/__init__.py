"""What commands share: their start, flags, errors and signals, what they print, and the files that users give them.

The other modules are imported by their names, by libraries too: `regular_files` and `literal_path` (reading files),
`safe_text`, `progress` and `tables` (output).
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
