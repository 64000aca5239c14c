import importlib.util
from pathlib import Path

import pytest

from pipelines.datasets.registry import open_source
from pipelines.prepare import prepare
from tests.helpers.image_files import image_folder, write_files

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="Apache Beam is not installed (pip install 'keras-alexnet[beam]'): its runner is NOT tested",
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_files(image_folder(tmp_path / "images"), {"train/cat/bad.jpg": b"text"})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@needs_beam
def test_a_beam_pipeline_writes_the_very_files_of_a_local_run(images, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.prepare._IMAGES_PER_PART", 5)
    source = open_source(f"folder:{images}")
    prepare(source, tmp_path / "local", max_bad_fraction=0.1)
    prepare(source, tmp_path / "beam", max_bad_fraction=0.1, beam_options="")
    assert contents(tmp_path / "local") == contents(tmp_path / "beam")
    assert len(list((tmp_path / "beam").glob("*.tfrecord-*"))) == 4


@needs_beam
def test_beams_own_options_reach_it(images, tmp_path):
    with pytest.raises(ValueError, match=r"runner=beam: the pipeline failed: .*NoSuchRunner"):
        prepare(open_source(f"folder:{images}"), tmp_path / "out", beam_options="--runner=NoSuchRunner")
    assert not (tmp_path / "out").exists()


@needs_beam
def test_a_failure_in_the_pipeline_is_told_in_one_line(images, tmp_path):
    source = open_source(f"folder:{images}")
    (images / "train/cat/3.jpg").unlink()
    with pytest.raises(ValueError, match=r"runner=beam: the pipeline failed: .*train/cat/3.jpg; No such") as raised:
        prepare(source, tmp_path / "out", beam_options="")
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed")
def test_without_beam_the_error_says_how_to_install_it(images, tmp_path):
    with pytest.raises(ValueError, match=r"Apache Beam is missing: pip install 'keras-alexnet\[beam\]'"):
        prepare(open_source(f"folder:{images}"), tmp_path / "out", beam_options="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
