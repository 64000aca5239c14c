"""A picture of the crops that training makes of photographs."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from pipelines.datasets.source import Source
from pipelines.images.resized import resized_pixels
from pipelines.input import training_batches
from pipelines.statistics import Accumulator, Statistics

ROWS, CROPS = 6, 5
_GAP, _CAPTION = 8, 18
# The part of a resized image's side that a crop covers: 224 of 256, as in the paper.
_CROP_SHARE = 0.875
# Smaller images are enlarged by whole factors up to this side.
_SHOWN_SIZE = 128
_BACKGROUND, _INK = (255, 255, 255), (0, 0, 0)


def contact_sheet(source: Source, seed: int = 0) -> Image.Image:
    """A row per photograph, for some training photographs: the resized image, then the crops of five epochs, clipped.

    Statistics of a source that is not prepared are those of these photographs alone, so the colour augmentation is only
    about that of a training run.

    Raises:
      ValueError: no training image can be decoded.
    """
    photographs = _photographs(source, seed)
    resized = np.stack([pixels for _, _, pixels in photographs])
    statistics = source.statistics or _statistics_of(resized)
    rows = [[image] for image in resized]
    for epoch in range(CROPS):
        for row, crop in zip(rows, _crops(source, photographs, statistics, seed, epoch), strict=True):
            row.append(crop)
    return _laid_out(rows, [source.class_names[label] for _, label, _ in photographs])


def _photographs(source: Source, seed: int) -> list[tuple[bytes, int, np.ndarray]]:
    """File, label and resized image of the first training images, in the order of `seed`, that can be decoded."""
    photographs: list[tuple[bytes, int, np.ndarray]] = []
    for encoded, label, _ in source.examples("train", shuffle_seed=seed):
        try:
            photographs.append((encoded, label, resized_pixels(encoded, source.resize, source.size)))
        except ValueError:
            continue
        if len(photographs) == ROWS:
            break
    if not photographs:
        raise ValueError(f"dataset={source.name}: none of its training images can be decoded")
    return photographs


def _statistics_of(images: np.ndarray) -> Statistics:
    accumulator = Accumulator()
    accumulator.update(images)
    return accumulator.result()


def _crops(
    source: Source, photographs: list[tuple[bytes, int, np.ndarray]], statistics: Statistics, seed: int, epoch: int
) -> np.ndarray:
    """uint8 [N,S,S,3]: what training sees in `epoch`."""
    count = len(photographs)
    files = tf.constant([encoded for encoded, _, _ in photographs])
    keys = tf.strings.as_string(tf.range(count))
    # The label is the row, which identifies the photograph in a batch.
    rows = tf.data.Dataset.from_tensor_slices((files, tf.range(count), keys))
    few = dataclasses.replace(source, splits={"train": count}, read=lambda split, shuffle_seed, start: rows)
    batches = training_batches(
        few,
        statistics,
        crop_size=round(source.size * _CROP_SHARE),
        batch_size=count,
        seed=seed,
        epoch=epoch,
        resize=source.resize,
    )
    images, labels = next(batches.as_numpy_iterator())
    return np.clip(np.round(images[np.argsort(labels)]), 0, 255).astype(np.uint8)


def _laid_out(rows: list[list[np.ndarray]], captions: list[str]) -> Image.Image:
    factor = max(1, _SHOWN_SIZE // len(rows[0][0]))
    cell = factor * len(rows[0][0]) + _GAP
    sheet = Image.new("RGB", (_GAP + cell * len(rows[0]), _GAP + (cell + _CAPTION) * len(rows)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for i, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = _GAP + i * (cell + _CAPTION)
        draw.text((_GAP, top), caption, _INK)
        for j, image in enumerate(row):
            enlarged = Image.fromarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
            sheet.paste(enlarged, (_GAP + j * cell, top + _CAPTION))
    return sheet
