"""The whole product in a few minutes: real photographs in, a named answer over gRPC out.

Runs the project's own commands one after the other and prints each before it runs it, so that they can be typed again.
Everything it makes is in build/quickstart, which it empties first.
"""

import contextlib
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.cli import run
from pipelines.datasets.registry import open_source

WORK = Path("build") / "quickstart"
CONFIG = Path(__file__).parent / "configs" / "photos.flags"


def define_flags() -> None:
    """None: the commands that it prints are there to be changed."""


def shown(*arguments: str | Path) -> list[str]:
    """The command line for `python -m arguments`, after printing it."""
    words = ["-m", *map(str, arguments)]
    print(f"\n$ {_short(Path(sys.executable))} {shlex.join(words)}", flush=True)
    return [sys.executable, *words]


def call(*arguments: str | Path) -> None:
    """Runs `python -m arguments`.

    Raises:
      ValueError: if it fails; what it printed says why.
    """
    started = time.monotonic()
    code = subprocess.run(shown(*arguments), check=False).returncode
    if code:
        raise ValueError(f"{arguments[0]} ended with exit code {code}; see above")
    print(f"({time.monotonic() - started:.0f} s)", flush=True)


@contextlib.contextmanager
def server(*arguments: str | Path) -> Iterator[str]:
    """Runs the embedded server around the block; gives its address, which is in the line that it prints when ready."""
    process = subprocess.Popen(shown("serving.server", *arguments), stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        print(line, end="", flush=True)
        if not line:
            raise ValueError("serving.server ended before it served; see above")
        yield line.split(" at ")[1].split()[0]
    finally:
        process.terminate()
        process.wait(timeout=60)


def held_out_photographs(prepared: Path, folder: Path) -> list[Path]:
    """Writes the first validation photograph of each class to `folder`, as <class>.jpg."""
    source = open_source(str(prepared))
    paths: dict[str, Path] = {}
    folder.mkdir()
    for encoded, label, _ in source.encoded("validation").as_numpy_iterator():
        name = source.class_names[label]
        if name not in paths:
            paths[name] = folder / f"{name}.jpg"
            paths[name].write_bytes(encoded)
    return sorted(paths.values())


def main(argv: list[str]) -> None:
    """Prepare, train, evaluate, export, serve, ask."""
    started = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    photos, model, export = WORK / "photos", WORK / "model", WORK / "export" / "alexnet"
    call("pipelines.prepare", "--dataset=photos", f"--data_dir={WORK / 'tfds'}", f"--output_dir={photos}")
    call("keras_alexnet.train", f"--flagfile={_short(CONFIG)}", f"--dataset={photos}", f"--model_dir={model}")
    call("keras_alexnet.evaluate", f"--model_dir={model}")
    call("keras_alexnet.export", f"--model_dir={model}", f"--export_base={export}")
    files = held_out_photographs(photos, WORK / "held_out")
    with server("--model_name=alexnet", f"--model_base_path={export}", "--port=0") as address:
        call("serving.client", f"--server={address}", "--top_k=1", *files)
        call("serving.client", f"--server={address}", files[0])
    print(f"\nquickstart: done in {time.monotonic() - started:.0f} s; everything is in {WORK}")


def _short(path: Path) -> Path:
    """`path` from the current folder on, if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    run(main, define_flags)
