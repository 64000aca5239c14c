"""The embedded photographs: a dataset of real pixels that needs no download.

It is made of the photographs in scikit-image's wheel, one class per photograph. It shows that everything works, from
JPEG to prediction; it is no benchmark, because a class is a single photograph.

Each photograph is divided into 4 x 4 tiles. Four of them, one in each row and column, are held out: validation crops
lie wholly inside one held-out tile, training crops touch none of them, so the splits share no pixel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pipelines.choices import JPEG_QUALITY, RESIZED_SIZE
from pipelines.datasets.tfds_records import quiet


class Box(NamedTuple):
    """A rectangle of pixels: rows y0 to y1, columns x0 to x1, the ends not included."""

    y0: int
    x0: int
    y1: int
    x1: int

    def overlaps(self, other: Box) -> bool:
        """Whether the two share a pixel."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1


# By class: the file in scikit-image's data folder, and the area that shows the object without its surroundings.
PHOTOGRAPHS: dict[str, tuple[str, Box | None]] = {
    "astronaut": ("astronaut.png", Box(265, 30, 495, 290)),
    "brick": ("brick.png", None),
    "chelsea": ("chelsea.png", Box(20, 60, 300, 340)),
    "coffee": ("coffee.png", None),
    "grass": ("grass.png", None),
    "gravel": ("gravel.png", None),
    "hubble_deep_field": ("hubble_deep_field.jpg", None),
    "ihc": ("ihc.png", None),
    "moon": ("moon.png", None),
    "motorcycle": ("motorcycle_left.png", Box(110, 110, 395, 680)),
    "retina": ("retina.jpg", Box(300, 340, 1140, 1180)),
    "rocket": ("rocket.jpg", Box(107, 0, 427, 640)),
}
TRAINING_CROPS = 96
HELD_OUT_CROPS = 24

# TFDS wraps errors of the disk into a RuntimeError.
_BUILD_ERRORS = (OSError, RuntimeError, tf.errors.OpError)

_GRID = 4
# The column of the held-out tile in each row: no two of them touch, not even at a corner.
_HELD_OUT_COLUMNS = (2, 0, 3, 1)
# Sides of the square crops as shares of a tile's shorter side.
_TRAINING_SIDES = (0.75, 1.25)
_HELD_OUT_SIDES = (0.75, 1.0)


def held_out_tiles(window: Box) -> list[Box]:
    """The four tiles of `window` that only validation crops may touch."""
    rows = np.linspace(window.y0, window.y1, _GRID + 1).astype(int).tolist()
    columns = np.linspace(window.x0, window.x1, _GRID + 1).astype(int).tolist()
    return [
        Box(rows[row], columns[column], rows[row + 1], columns[column + 1])
        for row, column in enumerate(_HELD_OUT_COLUMNS)
    ]


def training_boxes(window: Box, random: np.random.Generator) -> list[Box]:
    """Squares inside `window` that touch no held-out tile; they may straddle several other tiles."""
    held_out = held_out_tiles(window)
    boxes: list[Box] = []
    while len(boxes) < TRAINING_CROPS:
        box = _square_inside(window, _side(held_out[0], _TRAINING_SIDES, random), random)
        if not any(box.overlaps(tile) for tile in held_out):
            boxes.append(box)
    return boxes


def held_out_boxes(window: Box, random: np.random.Generator) -> list[Box]:
    """Squares that each lie inside one held-out tile, the same number in each."""
    tiles = held_out_tiles(window)
    return [
        _square_inside(tile, _side(tile, _HELD_OUT_SIDES, random), random)
        for tile in tiles
        for _ in range(HELD_OUT_CROPS // len(tiles))
    ]


def _side(tile: Box, shares: tuple[float, float], random: np.random.Generator) -> int:
    return round(min(tile.y1 - tile.y0, tile.x1 - tile.x0) * random.uniform(*shares))


def _square_inside(window: Box, side: int, random: np.random.Generator) -> Box:
    y = int(random.integers(window.y0, window.y1 - side, endpoint=True))
    x = int(random.integers(window.x0, window.x1 - side, endpoint=True))
    return Box(y, x, y + side, x + side)


class Photos(tfds.core.GeneratorBasedBuilder):
    """TFDS dataset `photos`; see the module's docstring. Boxes are in pixels of the original photograph."""

    VERSION = tfds.core.Version("1.0.0")
    MAX_SIMULTANEOUS_DOWNLOADS = 0

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(RESIZED_SIZE, RESIZED_SIZE, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=list(PHOTOGRAPHS)),
                    "box": tfds.features.Tensor(shape=(4,), dtype=np.int32),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager
        folder = photographs_folder()
        return {
            "train": self._generate_examples(folder, training_boxes),
            "validation": self._generate_examples(folder, held_out_boxes),
        }

    def _generate_examples(
        self, folder: Path, boxes_of: Callable[[Box, np.random.Generator], list[Box]]
    ) -> Iterator[tuple[str, dict]]:
        for label, (name, (file, window)) in enumerate(PHOTOGRAPHS.items()):
            photograph = Image.open(folder / file).convert("RGB")
            window = window or Box(0, 0, photograph.height, photograph.width)
            for index, box in enumerate(boxes_of(window, np.random.default_rng(label))):
                yield f"{name}-{index:03d}", {"image": _crop(photograph, box), "label": label, "box": box}


def _crop(photograph: Image.Image, box: Box) -> bytes:
    # Cut first: resize(box=...) would let the filter reach over the edge, into pixels of the other split.
    crop = photograph.crop((box.x0, box.y0, box.x1, box.y1))
    encoded = io.BytesIO()
    crop.resize((RESIZED_SIZE, RESIZED_SIZE), Image.Resampling.BILINEAR).save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def photographs_folder() -> Path:
    """The data folder of the installed scikit-image.

    Raises:
      ValueError: it is not installed, or lacks one of the photographs.
    """
    package = importlib.util.find_spec("skimage")
    folder = Path(package.origin).parent / "data" if package and package.origin else None
    if folder is None or not all((folder / file).is_file() for file, _ in PHOTOGRAPHS.values()):
        raise ValueError(
            "dataset=photos: scikit-image, whose photographs it is made of, is missing or incomplete: "
            "pip install 'keras-alexnet[photos]'"
        )
    return folder


def build(data_dir: str | None = None) -> tfds.core.DatasetBuilder:
    """The dataset `photos` in `data_dir` (TFDS's own default if None), built there first where it is not yet.

    Raises:
      ValueError: scikit-image is missing, or `data_dir` cannot be written.
    """
    try:
        with quiet():
            builder = Photos(data_dir=data_dir)
            if not builder.is_prepared():
                photographs_folder()
                _build(builder)
                builder = Photos(data_dir=data_dir)
    except _BUILD_ERRORS as error:
        raise ValueError(f"data_dir={data_dir}: cannot build photos there: {' '.join(str(error).split())}") from error
    return builder


def _build(builder: Photos) -> None:
    tfds.disable_progress_bar()
    try:
        # TFDS announces downloads on stdout; there are none.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except _BUILD_ERRORS:
        # Two processes may build at once; the slower one finds the work done.
        if not builder.is_prepared():
            raise
