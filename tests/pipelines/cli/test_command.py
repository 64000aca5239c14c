"""What every command shares, in this process: `run` ends with SystemExit."""

import builtins
import importlib
import io
import os
import shlex
import signal
import subprocess
import sys

import pytest
from absl import flags

from pipelines import cli


def define_flags():
    cli.define_path("data", "~/default", "a path")
    cli.define_paths("images", None, "paths")
    flags.DEFINE_integer("number", 1, "a number")
    flags.DEFINE_float("share", 0.5, "a share", 0.0, 1.0)


@pytest.fixture
def run(monkeypatch):
    def run(main, *arguments, **options):
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.run(main, define_flags, needs_tensorflow=False, **options)
        return left.value.code

    return run


def values(seen):
    """A command that notes its flags in `seen`."""
    return lambda argv: seen.update({name: flags.FLAGS[name].value for name in ("data", "images", "number")})


def test_a_command_runs_twice_with_its_own_flags(run):
    for arguments, number in (["--number=2"], 2), ([], 1):
        seen = {}
        assert run(values(seen), *arguments) is None
        assert seen["number"] == number
    assert "number" not in flags.FLAGS


def test_a_command_finds_the_modules_of_the_current_directory(run, tmp_path, monkeypatch):
    """Python itself looks there for `python -m`, but not for installed commands."""
    (tmp_path / "my_own_module.py").write_text("NUMBER = 7")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    assert run(lambda argv: importlib.import_module("my_own_module").NUMBER) == 7
    del sys.modules["my_own_module"]


@pytest.mark.parametrize("value", ["nan", "inf", "2"])
def test_numbers_out_of_range_are_refused_in_one_line(run, value):
    message = run(values({}), f"--share={value}")
    assert message.startswith("error: ") and "--share=" in message and "\n" not in message


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "-?"])
def test_help_succeeds(run, capsys, flag):
    assert run(values({}), flag) == 0
    assert "Try --helpfull" in capsys.readouterr().out or flag == "--helpfull"


def test_the_help_of_a_command_is_its_own(run, capsys):
    assert run(values({}), "--help", help_text=lambda: "grouped") == 0
    assert capsys.readouterr().out == "grouped\n"
    assert run(values({}), "--help") == 0
    assert "grouped" not in capsys.readouterr().out


def test_paths_expand_the_home_directory(run, monkeypatch):
    monkeypatch.setenv("HOME", "/folder/of/user")
    seen = {}
    run(values(seen), "--data=~/x", "--images=~/a", "--images=b")
    assert (seen["data"], seen["images"]) == ("/folder/of/user/x", ["/folder/of/user/a", "b"])
    run(values(seen))
    assert seen["data"] == "/folder/of/user/default"


def test_flagfiles_may_have_a_byte_order_mark_comments_and_others_in_them(run, tmp_path):
    (tmp_path / "inner.flags").write_text("// remark\n--data=inner\n")
    (tmp_path / "outer.flags").write_bytes(
        b"\xef\xbb\xbf# remark\n--number=3\n--flagfile=" + os.fsencode(tmp_path / "inner.flags") + b"\n"
    )
    seen = {}
    run(values(seen), f"--flagfile={tmp_path / 'outer.flags'}", "--number=4")
    assert (seen["number"], seen["data"]) == (4, "inner")


def test_our_flagfiles_are_found_by_name(run):
    # They have flags that this command lacks: found, read and refused.
    assert "Unknown command line flag" in run(values({}), "--flagfile=photos.flags")
    assert "--flagfile=no.flags: no such file; found imagenette.flags, " in run(values({}), "--flagfile=no.flags")


def test_a_flagfile_that_includes_itself_is_refused(run, tmp_path):
    path = tmp_path / "a.flags"
    path.write_text(f"--flagfile={path}\n")
    assert "includes itself" in run(values({}), f"--flagfile={path}")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("number=7: expected less"), "error: --number=7: expected less"),
        (ValueError("width=7: expected less"), "error: width=7: expected less"),
        (ValueError("a\x1b[2J.jpg:\n  no\u202e"), "error: a\\x1b[2J.jpg: no\\u202e"),
        (FileNotFoundError(2, "No such file or directory", "x"), "error: [Errno 2] No such file or directory: 'x'"),
    ],
)
def test_errors_are_one_line_with_the_flag_if_there_is_one(run, error, line):
    def main(argv):
        raise error

    assert run(main) == line


def test_verbosity_shows_the_traceback(monkeypatch):
    def main(argv):
        raise ValueError("a bug")

    monkeypatch.setattr(sys, "argv", ["command", "--verbosity=1"])
    with pytest.raises(ValueError, match="a bug"):
        cli.run(main, define_flags, needs_tensorflow=False)


@pytest.mark.parametrize(
    ("argument", "line"),
    [("x", "unexpected argument 'x'"), ("--numbr=1", "Unknown command line flag"), ("--number=x", "--number")],
)
def test_wrong_arguments_are_one_line(run, argument, line):
    assert line in run(values({}), argument)


def test_the_environment_is_set_unless_the_user_has_decided(run, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("GRPC_VERBOSITY", "")
    monkeypatch.delenv("GRPC_VERBOSITY")
    run(values({}))
    assert (os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["GRPC_VERBOSITY"]) == ("0", "ERROR")


def test_replaced_streams_are_good_enough(run, monkeypatch):
    # As in a notebook: no file number, no `reconfigure`.
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert run(lambda argv: print("text")) is None
    assert sys.stdout.getvalue() == "text\n"


def test_in_a_notebook_an_error_is_one_line_without_an_exit(monkeypatch, capsys):
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    for arguments, expected in (["--number=x"], "error: flag --number=x"), ([], "error: no"):
        monkeypatch.setattr(sys, "argv", ["command", *arguments])

        def fail(argv):
            raise ValueError("no")

        cli.run(fail, define_flags, needs_tensorflow=False)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(expected)


def test_an_old_python_is_one_line(run, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 12, "final", 0))
    assert run(values({})) == f"error: Python 3.10 ({sys.executable}), expected 3.11 or later"


def test_the_first_signal_is_recorded_and_handlers_are_restored(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with cli.stop_signals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait() == stop.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "the second one ends the process"
        with pytest.raises(KeyboardInterrupt):
            stop.raise_if_received()
    assert signal.getsignal(signal.SIGTERM) is before
    assert "press again to stop at once" in capsys.readouterr().out


CLOSED = """
import sys
from pipelines import cli
def main(argv):
    print("text")
    assert sys.argv[1] == "none" or "tensorflow" in sys.modules
    return 3
cli.run(main, lambda: None, takes_arguments=True, needs_tensorflow=sys.argv[1] == "tensorflow")
"""


@pytest.mark.subprocess
def test_closed_standard_streams_do_not_matter():
    for redirection in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{shlex.join([sys.executable, '-c', CLOSED, 'none'])} {redirection}"
        assert subprocess.run(["bash", "-c", command], check=False).returncode == 3


@pytest.mark.subprocess
def test_tensorflow_is_loaded_without_its_chatter():
    result = subprocess.run([sys.executable, "-c", CLOSED, "tensorflow"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (3, "text\n", "")
