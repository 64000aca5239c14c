"""Command: the whole workflow in a few minutes, from photographs to a class name over gRPC.

    python -m keras_alexnet.quickstart

Runs the project's commands one after the other and prints each before it runs it, so that they can be typed again.
"""

import contextlib
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from pipelines.atomic import writable_directory
from pipelines.cli import define_path, run

# A directory with this file may be replaced.
_MARKER = ".quickstart"


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_integer("seed", 0, "random seed of the training run", 0, 2**32 - 1)
    define_path("work_dir", "build/quickstart", "directory for everything that is made; an earlier run's is replaced")


def printed_command(*arguments: str | Path) -> list[str]:
    """The command line of `python -m arguments`, after printing it."""
    words = ["-m", *map(str, arguments)]
    print(f"\n$ {_relative(Path(sys.executable))} {shlex.join(words)}", flush=True)
    return [sys.executable, *words]


def run_command(*arguments: str | Path) -> None:
    """Runs `python -m arguments`.

    Raises:
      ValueError: if it fails; the reason is in what it printed.
    """
    started = time.monotonic()
    code = subprocess.run(printed_command(*arguments), check=False).returncode
    if code:
        raise ValueError(f"{arguments[0]} ended with exit code {code}; see above")
    print(f"({time.monotonic() - started:.0f} s)", flush=True)


@contextlib.contextmanager
def running_server(*arguments: str | Path) -> Iterator[str]:
    """Runs the embedded server while the block runs; yields its address, from the line that it prints when ready."""
    process = subprocess.Popen(printed_command("serving.server", *arguments), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        print(line, end="", flush=True)
        if not line:
            raise ValueError("serving.server ended before it was ready; see above")
        yield line.split(" at ")[1].split()[0]
    finally:
        process.terminate()
        process.wait(timeout=60)


def write_held_out_images(prepared: Path, directory: Path) -> list[Path]:
    """Writes the first validation image of each class to `directory`, as <class>.jpg."""
    from pipelines.datasets.registry import open_source

    source = open_source(str(prepared))
    paths: dict[str, Path] = {}
    directory.mkdir()
    for encoded, label, _ in source.encoded("validation").as_numpy_iterator():
        name = source.class_names[label]
        if name not in paths:
            paths[name] = directory / f"{name}.jpg"
            paths[name].write_bytes(encoded)
    return sorted(paths.values())


def create_work_dir(work: Path) -> None:
    """Creates the directory; replaces one of an earlier run.

    Raises:
      ValueError: if it has files that the quickstart has not made.
    """
    if work.exists() and not (work / _MARKER).exists() and (not work.is_dir() or any(work.iterdir())):
        raise ValueError(f"work_dir={work}: expected a new directory, or one of an earlier quickstart")
    shutil.rmtree(work, ignore_errors=True)
    (writable_directory("work_dir", work) / _MARKER).touch()


def main(argv: Sequence[str]) -> None:
    """Prepares, trains, evaluates, exports, serves, queries and draws."""
    options, started = flags.FLAGS, time.monotonic()
    work = Path(options.work_dir)
    create_work_dir(work)
    photos, model, export = work / "photos", work / "model", work / "export" / "alexnet"
    run_command("pipelines.prepare", "--dataset=photos", f"--data_dir={work / 'tfds'}", f"--output_dir={photos}")
    training = [f"--dataset={photos}", f"--model_dir={model}"]
    training += [f"--seed={options.seed}"] if options.seed else []
    run_command("keras_alexnet.train", "--flagfile=photos.flags", *training)
    run_command("keras_alexnet.evaluate", f"--model={model}")
    run_command("keras_alexnet.export", f"--model={model}", f"--export_base={export}")
    files = write_held_out_images(photos, work / "held_out")
    with running_server("--model_name=alexnet", f"--model_base_path={export}", "--port=0") as address:
        run_command("serving.client", f"--server={address}", "--top_k=1", *files)
        run_command("serving.client", f"--server={address}", files[0])
    figures = work / "summary.png"
    run_command("keras_alexnet.visualize", "summary", f"--model={model}", f"--output={figures}")
    print(f"\nquickstart: done in {time.monotonic() - started:.0f} s; figures: {figures}; everything is in {work}")


def _relative(path: Path) -> Path:
    """`path` relative to the current directory, if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
