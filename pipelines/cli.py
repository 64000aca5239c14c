"""What every command of the project shares: a quiet start, and one-line errors.

Importing this module loads TensorFlow with its start-up messages held back (oneDNN, CUDA not found, ...: they
ignore TF_CPP_MIN_LOG_LEVEL in TensorFlow 2.21). They are shown if TensorFlow fails to load.
"""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence

from absl import app, flags, logging


class UsageError(ValueError):
    """A command was used in a way that cannot work; the message says what was received and what was expected."""


def run(main: Callable[[Sequence[str]], int | None], define_flags: Callable[[], None]) -> None:
    """Defines and parses absl flags and calls `main(argv)`; a ValueError or OSError ends it with one line, exit code 1.

    Flags are defined here and not when a command's module is imported, so that its functions can be used in programs
    that have flags of their own. Arguments that are no flags are refused, unless `main` has an attribute
    `takes_arguments = True`.
    """

    def guarded(argv: Sequence[str]) -> int | None:
        try:
            if len(argv) > 1 and not getattr(main, "takes_arguments", False):
                raise UsageError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
            if not flags.FLAGS["verbosity"].present:
                logging.set_verbosity(logging.WARNING)
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 128 + signal.SIGINT
        except BrokenPipeError:
            # Who read our output has left, as `| head` does; what is still buffered has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        except (ValueError, OSError) as error:
            if flags.FLAGS["verbosity"].present and flags.FLAGS.verbosity > 0:
                raise
            sys.exit(f"error: {_with_flag(str(error))}")

    # A file's or a class' name may have characters that the terminal's encoding lacks.
    sys.stdout.reconfigure(errors="backslashreplace")
    define_flags()
    app.run(guarded, flags_parser=_parse_flags)


def _with_flag(message: str) -> str:
    """`message`, which begins with `argument=value:`, with "--" in front if the command has such a flag."""
    name = re.match(r"(\w+)(?:=| is missing)", message)
    return f"--{message}" if name and name[1] in flags.FLAGS else message


def reason_of(error: Exception) -> str:
    """What an error of TensorFlow's or of the operating system's says, without where in the graph that was."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = re.split(r"\[\[\{\{node|\[Op:", str(error))[0].strip().splitlines()
    # Of several lines the last one says why.
    reason = re.sub(r"\{\{.*?\}\}", "", lines[-1] if lines else type(error).__name__).strip()
    return re.sub(r"^assertion failed: \[(.*)\]$", r"\1", reason)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses `argv` into absl's FLAGS; a wrong flag, value or flagfile ends the process with one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        missing = re.findall(r"Flag (--\w+) must have a value other than None", str(error))
        if missing:
            sys.exit(f"error: missing {', '.join(missing)} (--help lists the flags)")
        sys.exit(f"error: {' '.join(str(error).split())} (--help lists the flags)")


def _load_tensorflow_quietly() -> None:
    """Imports TensorFlow and looks for devices with the C-level stderr held back."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else a failed handshake is told in lines of gRPC's own
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            os.dup2(kept, 2)
            messages.seek(0)
            sys.stderr.write(messages.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


_load_tensorflow_quietly()
