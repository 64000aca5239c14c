"""Photographs and a training small enough for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_alexnet.training.config import TrainingConfig

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


def tiny(images: Path, model_dir: Path, **changes) -> TrainingConfig:
    """A training that takes seconds: 4 epochs of 3 steps unless changed.

    Args:
      images: an image folder or, which takes a fifth of the time, a prepared directory.
      model_dir: of the run.
      **changes: other values of the config.
    """
    recipe = {"width": 1 / 16, "init": "he", "batch_size": 8, "epochs": 4, "schedule": "constant", "seed": 7}
    return TrainingConfig(dataset_name(images), str(model_dir), **recipe | changes)


def dataset_name(images: Path) -> str:
    """What --dataset says of an image folder or of a prepared directory."""
    return str(images) if Path(images, "dataset_info.json").exists() else f"folder:{images}"
