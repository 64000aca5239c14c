"""Commands run in this process, which saves the seconds that TensorFlow needs to start."""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest import mock

from absl import flags


class Finished(NamedTuple):
    """What a command ended with, as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run_command(module: str, *arguments: str) -> Finished:
    """Runs `python -m module arguments` by the module's function `command`."""
    command = importlib.import_module(module).command
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", [module, *map(str, arguments)]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            command()
        except SystemExit as left:
            code = left.code
            if isinstance(code, str):
                print(code, file=stderr)
                code = 1
    return Finished(int(code or 0), stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def defined_flags(define_flags: Callable[[], None]) -> Iterator[flags.FlagValues]:
    """Defines flags, and removes them at the end."""
    flags.FLAGS.unparse_flags()
    before = set(flags.FLAGS)
    try:
        define_flags()
        yield flags.FLAGS
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
