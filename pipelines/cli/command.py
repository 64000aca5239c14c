"""Runs a command: environment, quiet start, flags, one-line errors, exit codes.

A command module defines `define_flags()` and `main(argv)`, imports neither TensorFlow nor Keras at module level, and
ends with `run(main, define_flags)`.
"""

from __future__ import annotations

import builtins
import functools
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

from pipelines.cli import startup
from pipelines.cli.flagfiles import expand_flagfiles
from pipelines.cli.safe_text import one_line

# The flags that `define_path` defines belong to the module that calls it, and appear in its --help.
flags.disclaim_key_flags()


# Of an error. A damaged file may have names of megabytes.
_MOST_CHARACTERS = 10_000


class UsageError(ValueError):
    """A command was used in a way that cannot work; the message says what was received and what was expected."""


def run(
    main: Callable[[Sequence[str]], int | None],
    define_flags: Callable[[], None],
    *,
    takes_arguments: bool = False,
    needs_tensorflow: bool = True,
    help_text: Callable[[], str] | None = None,
) -> None:
    """Runs a command: defines and parses its flags, loads TensorFlow quietly, calls `main(argv)` and exits.

    A `ValueError` or `OSError` ends the command with one line on stderr and exit code 1; `--verbosity=1` shows the
    traceback. Flags are defined here and not on import, so that a command's functions can be used in programs that
    have flags of their own. They are removed again at the end, so that a notebook can run a command twice.

    Args:
      main: the command; its result is the exit code.
      define_flags: defines the flags of the command.
      takes_arguments: whether arguments that are not flags are accepted.
      needs_tensorflow: whether to load it before `main`.
      help_text: makes what --help prints, in place of absl's list of the flags by name.
    """

    def guarded(argv: Sequence[str]) -> int | None:
        try:
            if len(argv) > 1 and not takes_arguments:
                raise UsageError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
            if not flags.FLAGS["verbosity"].present:
                logging.set_verbosity(logging.WARNING)
            if needs_tensorflow:
                startup.load_tensorflow_quietly()
                startup.warn_about_unused_gpu()
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 128 + signal.SIGINT
        except BrokenPipeError:
            return _reader_left()
        except (ValueError, OSError) as error:
            if flags.FLAGS["verbosity"].present and flags.FLAGS.verbosity > 0:
                raise
            # Names of files, and what libraries say, may hold anything.
            sys.exit(f"error: {with_flag(one_line(str(error)))[:_MOST_CHARACTERS]}")

    startup.check_python()
    startup.set_environment()
    startup.open_standard_streams()
    if os.getcwd() not in sys.path:
        # Installed commands, unlike `python -m`, do not look for the user's modules in the current directory.
        sys.path.append(os.getcwd())
    app.define_help_flags()
    others = set(flags.FLAGS)
    define_flags()
    own = set(flags.FLAGS) - others
    try:
        app.run(guarded, flags_parser=functools.partial(_parse_flags, help_text=help_text))
    except SystemExit as left:
        # IPython's %run shows a traceback for every exit code but 0.
        if not hasattr(builtins, "__IPYTHON__"):
            raise
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    finally:
        for name in own & set(flags.FLAGS):
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()


def _reader_left() -> int:
    """The exit code when the reader of our output has closed it, as `| head` does."""
    # What is still buffered has nowhere to go.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (stays open until the process ends)
    return 128 + signal.SIGPIPE


def with_flag(message: str) -> str:
    """`message`, which begins with `argument=value:`, with "--" in front if the command has such a flag."""
    name = re.match(r"(\w+)(?:=| is missing)", message)
    return f"--{message}" if name and name[1] in flags.FLAGS else message


def reason_of(error: BaseException) -> str:
    """The message of an error of TensorFlow or of the operating system, without its place in the graph."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = re.split(r"\[\[\{\{node|\[Op:", str(error))[0].strip().splitlines()
    # Of several lines the last one has the reason.
    reason = re.sub(r"\{\{.*?\}\}", "", lines[-1] if lines else type(error).__name__).strip()
    return re.sub(r"^assertion failed: \[(.*)\]$", r"\1", reason)


class _PathParser(flags.ArgumentParser):
    """A path; `~` and `~user` in front become the home directory, as after `--flag ~/x` in a shell."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return "string"


def define_path(name: str, default: str | None, help: str, **options: Any) -> None:
    """`flags.DEFINE_string` for a path: expands `~`. `options` are those of `flags.DEFINE`, such as `required`."""
    flags.DEFINE(_PathParser(), name, default, help, serializer=flags.ArgumentSerializer(), **options)


def define_paths(name: str, default: list[str] | None, help: str, **options: Any) -> None:
    """`flags.DEFINE_multi_string` for paths: a flag that may be repeated, and expands `~`."""
    flags.DEFINE_multi(_PathParser(), flags.ArgumentSerializer(), name, default, help, **options)


def _parse_flags(argv: Sequence[str], help_text: Callable[[], str] | None) -> list[str]:
    """Parses `argv` into absl's FLAGS; a wrong flag, value or flagfile ends the process with one line."""
    try:
        arguments = expand_flagfiles(argv[1:])
    except flags.Error as error:
        sys.exit(f"error: {one_line(str(error))}")
    try:
        if help_text is not None and {"--help", "-help", "-?"} & set(arguments):
            print(help_text())
            sys.exit(0)
        rest = flags.FLAGS([argv[0], *arguments])
        for name in flags.FLAGS:
            value = flags.FLAGS[name].value
            # absl lets it pass: it is neither below nor above a bound.
            if isinstance(value, float) and math.isnan(value):
                raise flags.IllegalFlagValueError(f"--{name}=nan: expected a number")
        return rest
    except SystemExit:
        # Only --help and its relatives end the process here; absl's exit code for them is 1.
        sys.exit(0)
    except BrokenPipeError:
        sys.exit(_reader_left())
    except flags.Error as error:
        missing = re.findall(r"Flag (--\w+) must have a value other than None", str(error))
        if missing:
            sys.exit(f"error: missing {', '.join(missing)} (--help lists the flags)")
        sys.exit(f"error: {one_line(str(error))} (--help lists the flags)")
