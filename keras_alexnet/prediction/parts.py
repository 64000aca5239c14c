"""The staging directory of a prediction, beside its output: `<output>.parts`.

It has a manifest, which says what the parts are, and one file per complete part. Parts are computed by any number of
processes on any number of machines; a process that is killed leaves no part of its own. The output appears by one
rename, when all parts are there.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_alexnet.prediction.formats import Columns, find_format
from keras_alexnet.prediction.predictor import Prediction
from pipelines.atomic import FileLockedError, atomic_path, file_lock, write_file
from pipelines.cli import reason_of
from pipelines.cli.regular_files import read_text

_MANIFEST = "manifest.json"
_LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class PartStore:
    """The parts of one output. Can be pickled.

    Attributes:
      output: absolute path of the output; its suffix is that of a format.
    """

    output: Path

    @property
    def directory(self) -> Path:
        """The staging directory."""
        return self.output.with_name(f"{self.output.name}.parts")

    @contextlib.contextmanager
    def opened(self, manifest: Mapping[str, Any] | None, user: str) -> Iterator[dict[str, Any]]:
        """Creates the staging directory, or checks that its parts are the same; locks it for this `user`.

        Args:
          manifest: what determines the parts, as JSON can hold it; None if the directory has to exist already.
          user: name of the lock.

        Yields:
          The manifest.

        Raises:
          ValueError: the output exists, cannot be written, has parts with another manifest or none, or is locked.
        """
        if not self.directory.exists():
            if os.path.lexists(self.output):
                raise ValueError(f"output={self.output}: exists already; expected a path that does not")
            if manifest is None:
                raise ValueError(f"output={self.output}: found no parts to join in {self.directory}")
            if not self.output.parent.is_dir():
                raise ValueError(f"output={self.output}: no directory {self.output.parent} to create it in")
        try:
            with contextlib.ExitStack() as stack:
                self.directory.mkdir(exist_ok=True)
                stack.enter_context(file_lock(self.directory / f"{user}.lock"))
                with file_lock(self.directory / "manifest.lock", timeout_s=_LOCK_TIMEOUT_S):
                    found = self._read_or_write(manifest)
                yield found
        except FileLockedError:
            raise ValueError(f"output={self.output}: another process is writing it ({user})") from None
        except OSError as error:
            raise ValueError(
                f"output={self.output}: cannot be written: {reason_of(error)}; "
                "complete parts are kept, the same command resumes"
            ) from error

    def _read_or_write(self, manifest: Mapping[str, Any] | None) -> dict[str, Any]:
        path = self.directory / _MANIFEST
        if manifest is not None and not path.exists():
            write_file(path, json.dumps(manifest, indent=1))
        try:
            found = json.loads(read_text(path))
        except (FileNotFoundError, ValueError):
            raise ValueError(f"output={self.output}: {self.directory} has no parts of a prediction") from None
        for name, value in (manifest or {}).items():
            if found.get(name) != value:
                raise ValueError(
                    f"output={self.output}: {self.directory} has parts made with another value of {name}; "
                    "repeat the command as it was, or delete that directory"
                )
        return found

    def stored(self) -> dict[int, tuple[Path, int]]:
        """Number of a complete part -> its file and how many of its images are invalid."""
        files = sorted(self.directory.glob(f"part-*{self.output.suffix}"))
        parts = (path.name.removesuffix(path.suffix).split("-")[1:3] for path in files)
        return {int(index): (path, int(invalid)) for path, (index, invalid) in zip(files, parts, strict=True)}

    def write(self, index: int, predictions: Sequence[Prediction], columns: Columns) -> None:
        """Writes a part in one step.

        Raises:
          OSError: it cannot be written.
        """
        invalid = sum(not prediction.valid for prediction in predictions)
        name = f"part-{index:06d}-{invalid}-invalid{self.output.suffix}"
        with atomic_path(self.directory / name) as temporary:
            find_format(self.output).write(predictions, columns, temporary)

    def remove_temporary(self, indices: set[int]) -> None:
        """Removes what killed processes left of these parts."""
        for path in self.directory.glob(".*.part-*"):
            if int(path.name.split("-")[1]) in indices:
                path.unlink(missing_ok=True)

    def join(self, parts: int, columns: Columns) -> int:
        """Joins all parts to the output, in order, and removes them; returns how many images are invalid.

        Raises:
          ValueError: parts are missing.
          OSError: the output cannot be written; the parts are kept.
        """
        stored = self.stored()
        missing = [index for index in range(parts) if index not in stored]
        if missing:
            raise ValueError(
                f"output={self.output}: {len(missing)} of {parts} parts are missing, the first is {missing[0]}; "
                "run the command without merge, or its shards again"
            )
        files, invalid = zip(*(stored[index] for index in range(parts)), strict=True)
        with atomic_path(self.output) as temporary:
            find_format(self.output).join(files, columns, temporary)
        shutil.rmtree(self.directory, ignore_errors=True)
        return sum(invalid)
