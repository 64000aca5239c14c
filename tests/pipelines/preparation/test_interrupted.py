import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.atomic import file_lock
from pipelines.datasets.registry import open_source
from pipelines.preparation import shard as shards
from pipelines.preparation.prepare import prepare
from pipelines.preparation.shard import Shard
from tests.helpers.image_files import encode, image_folder, photograph, write_files

pytestmark = pytest.mark.medium

DEADLINE_S = 60


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """So much work that a signal comes long before its end: 16 parts of 40 large photographs."""
    root = write_files(tmp_path / "images", {"train/cat/0.jpg": encode(photograph(1200, 1200))})
    for index in range(1, 2048):
        os.link(root / "train/cat/0.jpg", root / f"train/cat/{index}.jpg")
    return root


def start(images: Path, output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipelines.prepare", f"--dataset=folder:{images}", f"--output_dir={output}"]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def complete_shards(output: Path) -> dict[str, int]:
    """When the statistics of each complete shard were written, in ns."""
    folder = output.with_name(f"{output.name}.incomplete") / "statistics"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.npz")}


def children(process: subprocess.Popen) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_command_with_one_line(number: signal.Signals, images, tmp_path):
    with start(images, tmp_path / "out", "--workers=1") as process:
        try:
            wait_until(lambda: list(tmp_path.glob("out.incomplete/dataset/.*")), process)
            process.send_signal(number)
            assert process.wait(DEADLINE_S) == 128 + number
            assert process.stderr.read() == "interrupted: no output written; run the same command again to resume\n"
        finally:
            process.kill()
    # Nothing was finished, so nothing is kept.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


@pytest.mark.subprocess
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes where Linux lists them")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_worker_processes_end_with_the_command(number: signal.Signals, images, tmp_path):
    with start(images, tmp_path / "out", "--workers=2") as process:
        try:
            wait_until(lambda: list(tmp_path.glob("out.incomplete/dataset/.*")), process)
            workers = children(process)
            assert len(workers) >= 2
            process.send_signal(number)
            process.wait(DEADLINE_S)
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        finally:
            process.kill()
    assert not (tmp_path / "out").exists()


@pytest.mark.subprocess
def test_after_a_kill_the_same_command_keeps_what_is_finished_and_gives_the_same_files(tmp_path, monkeypatch):
    images = image_folder(tmp_path / "images", training=80, validation=2)
    output = tmp_path / "out"
    monkeypatch.setattr("pipelines.preparation.prepare._IMAGES_PER_SHARD", 40)
    small_shards = (
        "from pipelines import cli, prepare as command\n"
        "from pipelines.preparation import prepare\n"
        "prepare._IMAGES_PER_SHARD = 40\n"
        "cli.run(command.main, command.define_flags)"
    )
    command = [
        sys.executable,
        "-c",
        small_shards,
        f"--dataset=folder:{images}",
        f"--output_dir={output}",
        "--workers=1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: complete_shards(output), process)
        finally:
            process.kill()
    kept = complete_shards(output)
    assert 0 < len(kept) < 5
    finished = {name: os.stat(name).st_mtime_ns for name in output.parent.glob("out.incomplete/dataset/prepared-*")}
    prepare(open_source(f"folder:{images}"), output)
    prepare(open_source(f"folder:{images}"), tmp_path / "at_once")
    for name in (path.name for path in (tmp_path / "at_once").iterdir()):
        assert (output / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes(), name
    assert len(finished) >= len(kept)
    untouched = [path for path, time_ns in finished.items() if (output / path.name).stat().st_mtime_ns == time_ns]
    assert len(untouched) >= len(kept)
    assert not list(tmp_path.glob("*.incomplete"))


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """An image folder whose preparation as `out` stopped with three of its four shards complete."""
    images = image_folder(tmp_path / "images")
    calls = []

    def stop() -> None:
        calls.append(None)
        if len(calls) == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(open_source(f"folder:{images}"), tmp_path / "out", check_interrupted=stop)
    return images


@pytest.fixture(autouse=True)
def small_shards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "unfinished" in request.fixturenames:
        monkeypatch.setattr("pipelines.preparation.prepare._IMAGES_PER_SHARD", 4)


def stored_shards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names the shards that are really stored from now on."""
    names = []

    def write(shard: Shard, *rest) -> None:
        names.append(f"{shard.split} {shard.index}")
        return original(shard, *rest)

    original = shards._write_records
    monkeypatch.setattr(shards, "_write_records", write)
    return names


def test_only_what_is_missing_is_stored(unfinished, tmp_path, monkeypatch):
    names = stored_shards(monkeypatch)
    prepare(open_source(f"folder:{unfinished}"), tmp_path / "out")
    assert names == ["validation 0"]


def test_what_killed_processes_have_left_is_not_published(unfinished, tmp_path):
    left = tmp_path / "out.incomplete/dataset/.prepared-train.tfrecord-00000-of-00003.1234abcd"
    left.write_bytes(b"half a record")
    prepare(open_source(f"folder:{unfinished}"), tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("change", ["resize", "quality", "take", "source", "damage"])
def test_shards_made_with_other_settings_are_stored_again(change: str, unfinished, tmp_path, monkeypatch):
    options = {"resize": {"resize": "warp"}, "quality": {"quality": 50}, "take": {"take": 12}}.get(change, {})
    if change == "source":
        os.rename(unfinished / "train/cat/0.jpg", unfinished / "train/cat/00.jpg")
    if change == "damage":
        for path in tmp_path.glob("out.incomplete/dataset/prepared-train*"):
            path.write_bytes(path.read_bytes()[:-1])
    names = stored_shards(monkeypatch)
    prepare(open_source(f"folder:{unfinished}"), tmp_path / "out", **options)
    prepare(open_source(f"folder:{unfinished}"), tmp_path / "at_once", **options)
    assert {"train 0", "train 1", "train 2", "validation 0"} >= set(names)
    for path in (tmp_path / "at_once").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "at_once"))


def test_two_at_once_do_not_write_into_each_others_folder(unfinished, tmp_path):
    with (
        file_lock(tmp_path / "out.incomplete/lock"),
        pytest.raises(ValueError, match=r"output_dir=.*out: another process is preparing it"),
    ):
        prepare(open_source(f"folder:{unfinished}"), tmp_path / "out")
    assert len(complete_shards(tmp_path / "out")) == 3
    prepare(open_source(f"folder:{unfinished}"), tmp_path / "out")
