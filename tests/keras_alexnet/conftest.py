from pathlib import Path

import pytest

from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers.tiny_training import tiny, write_photographs


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """An image folder of three classes: 8 training and 3 validation photographs each."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder / "train", 8, seed=0)
    write_photographs(folder / "val", 3, seed=1)
    return folder


@pytest.fixture(scope="session")
def prepared(photographs, tmp_path_factory) -> Path:
    """The photographs as a prepared directory. Its records need no checks: epochs start in a fifth of the time."""
    directory = tmp_path_factory.mktemp("prepared") / "photographs"
    prepare(open_source(f"folder:{photographs}"), directory)
    return directory


@pytest.fixture(scope="session")
def trained(prepared, tmp_path_factory) -> Path:
    """The model_dir of a finished tiny training."""
    model_dir = tmp_path_factory.mktemp("trained")
    train_and_evaluate(tiny(prepared, model_dir))
    return model_dir


@pytest.fixture
def unchecked(monkeypatch):
    """Exports are not loaded again in a process of their own, where a test is about something else: half the time."""
    monkeypatch.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)
