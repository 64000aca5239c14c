import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from pipelines.atomic import atomic_path, file_lock, writable_directory, write_file


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.json"
    write_file(path, "old")
    write_file(path, "nüw")
    write_file(tmp_path / "b", b"\xff")
    assert path.read_text(encoding="utf-8") == "nüw"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npy"
    write_file(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        np.save(temporary, np.zeros(3))
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.npy"]


def test_directories_that_cannot_be_written_are_named_with_their_argument(tmp_path):
    assert writable_directory("output_dir", tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not os.listdir(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "results", "/proc/results"):
        with pytest.raises(ValueError, match=f"^output_dir={path}: .*; expected a directory that can be written"):
            writable_directory("output_dir", path)


def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_file(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"


@pytest.mark.parametrize("fails", [False, True])
def test_a_directory_appears_complete_or_not_at_all(tmp_path, fails):
    try:
        with atomic_path(tmp_path / "out") as temporary:
            temporary.mkdir()
            (temporary / "file").touch()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert not os.listdir(tmp_path)
    else:
        assert os.listdir(tmp_path / "out") == ["file"]


@pytest.mark.subprocess
def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    with file_lock(path), pytest.raises(OSError, match="locked by another process"), file_lock(path):
        pass
    program = "import sys, pipelines.atomic as a\nwith a.file_lock(sys.argv[1]): print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with file_lock(path):
        pass


def test_an_error_without_a_file_name_gets_one(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: .*mean\.npy"), atomic_path(tmp_path / "mean.npy"):
        raise OSError(errno.ENOSPC, "No space left on device")
