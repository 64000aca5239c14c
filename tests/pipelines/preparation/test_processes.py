import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorflow as tf

from pipelines.cli.progress import progress_bar
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from pipelines.preparation.processes import store_all
from pipelines.preparation.shard import Shard, ShardConfig
from tests.helpers.image_files import image_folder, write_files

pytestmark = [pytest.mark.medium, pytest.mark.subprocess]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_files_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.preparation.prepare._IMAGES_PER_SHARD", 5)
    images = write_files(image_folder(tmp_path / "images"), {"train/cat/bad.jpg": b"text"})
    for workers in (1, 2):
        prepare(open_source(f"folder:{images}"), tmp_path / f"{workers}", max_bad_fraction=0.1, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@dataclass(frozen=True)
class Deadly:
    """A shard that kills the process which reads it, as a machine without memory does."""

    fingerprint: str = "deadly"

    def encoded(self) -> tf.data.Dataset:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Unreadable:
    """A shard whose files are gone."""

    fingerprint: str = "unreadable"

    def encoded(self) -> tf.data.Dataset:
        examples = tf.data.Dataset.from_tensors(("/nowhere/1.jpg", 0, "1.jpg"))
        return examples.map(lambda path, label, key: (tf.io.read_file(path), label, key))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Deadly(), "workers=2: one of them was killed"),
        pytest.param(
            Unreadable(), "dataset=x: reading train failed: .*/nowhere/1.jpg; No such", marks=pytest.mark.slow
        ),
    ],
)
def test_what_goes_wrong_in_a_process_ends_all_with_one_line(source, expected: str, tmp_path):
    for name in ("dataset", "statistics"):
        (tmp_path / name).mkdir()
    shards = [Shard("x", "train", index, 2, source, 1) for index in range(2)]
    with pytest.raises(ValueError, match=expected) as raised, progress_bar("", 2) as bar:
        list(store_all(shards, ShardConfig("shorter_side", 95, ("cat",)), tmp_path, 2, bar))
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "statistics").iterdir()) == []
