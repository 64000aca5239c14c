from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_alexnet.train import TrainingConfig, train

COLORS = {"blue": (40, 60, 200), "green": (30, 180, 50), "red": (210, 40, 30)}


def write_photographs(folder: Path, count: int, seed: int) -> None:
    """JPEG files, `count` a class: noise around the colour that names the class, in several sizes."""
    random = np.random.default_rng(seed)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            height, width = random.integers(150, 300, 2)
            pixels = np.clip(random.normal(color, 40, (height, width, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """An image folder of three classes: 8 training and 3 validation photographs each."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder / "train", 8, seed=0)
    write_photographs(folder / "val", 3, seed=1)
    return folder


def tiny(photographs: Path, model_dir: Path, **changes) -> TrainingConfig:
    """A training that takes seconds: 4 epochs of 3 steps unless changed."""
    recipe = {"width": 1 / 16, "init": "he", "batch_size": 8, "epochs": 4, "schedule": "constant", "seed": 7}
    return TrainingConfig(f"folder:{photographs}", str(model_dir), **recipe | changes)


@pytest.fixture(scope="session")
def trained(photographs, tmp_path_factory) -> Path:
    """The model_dir of a finished tiny training."""
    model_dir = tmp_path_factory.mktemp("trained")
    train(tiny(photographs, model_dir))
    return model_dir


@pytest.fixture
def unchecked(monkeypatch):
    """Exports are not loaded again in a process of their own, where a test is about something else: half the time."""
    monkeypatch.setattr("keras_alexnet.export._check", lambda *arguments: None)
