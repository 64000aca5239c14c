"""What makes files of records a prepared dataset: TFDS's own description, statistics.npz and summary.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pipelines.datasets.registry import STATISTICS_FILE, SUMMARY_FILE
from pipelines.datasets.source import Source
from pipelines.images.crops import RESIZED_SIZE
from pipelines.preparation.shard import VERSIONS, Shard, ShardConfig, file_template, finished
from pipelines.statistics import Accumulator, Statistics


@dataclass
class _SplitTotal:
    """The tallies of a split's parts, added up."""

    class_counts: np.ndarray
    shard_lengths: list[int] = field(default_factory=list)
    record_bytes: int = 0
    seen: int = 0


def write_metadata(
    source: Source, plan: Sequence[Shard], recipe: ShardConfig, folder: Path, label_names: Mapping[str, str]
) -> dict:
    """Describes the records of all parts, which are finished, in dataset/ below `folder`.

    Returns:
      The contents of summary.json.

    Raises:
      ValueError: a split has no good image.
      OSError: the files cannot be written.
    """
    totals: dict[str, _SplitTotal] = {}
    sums, bad = Accumulator(), {}
    # One tally at a time: those of ImageNet's training set would fill a gigabyte.
    for part in plan:
        tally = finished(part, recipe, folder)
        if tally is None:
            raise ValueError(f"{part.records_file(folder)}: was changed while the preparation was running")
        total = totals.setdefault(part.split, _SplitTotal(np.zeros_like(tally.class_counts)))
        total.class_counts += tally.class_counts
        total.shard_lengths.append(int(tally.class_counts.sum()))
        total.record_bytes += tally.record_bytes
        total.seen += tally.seen
        sums.merge(tally.sums)
        bad |= tally.bad
    for split, total in totals.items():
        if not total.class_counts.sum():
            raise ValueError(f"dataset={source.name}: none of {total.seen} {split} images can be decoded")
    dataset = folder / "dataset"
    _write_dataset_info(source, recipe, totals, dataset)
    statistics = sums.result()
    statistics.save(dataset / STATISTICS_FILE)
    summary = _summary(source, recipe, totals, statistics, bad, label_names)
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (dataset / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    return summary


def _write_dataset_info(source: Source, recipe: ShardConfig, totals: Mapping[str, _SplitTotal], folder: Path) -> None:
    identity = tfds.core.DatasetIdentity(
        name="prepared", version=tfds.core.Version("1.0.0"), data_dir=os.fspath(folder), module_name=__name__
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=f"{source.name}, resized to {RESIZED_SIZE} x {RESIZED_SIZE}",
        features=recipe.features,
    )
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=total.shard_lengths,
            num_bytes=total.record_bytes,
            filename_template=file_template(folder, split),
        )
        for split, total in totals.items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(folder)


def _summary(
    source: Source,
    recipe: ShardConfig,
    totals: Mapping[str, _SplitTotal],
    statistics: Statistics,
    bad: dict[str, str],
    label_names: Mapping[str, str],
) -> dict:
    return {
        "source": source.name,
        "resize": recipe.resize,
        "quality": recipe.quality,
        "splits": {
            split: {
                "images": int(total.class_counts.sum()),
                "classes": dict(zip(recipe.class_names, total.class_counts.tolist(), strict=True)),
            }
            for split, total in totals.items()
        },
        "label_names": dict(label_names),
        "bad_images": bad,
        "rgb_mean": statistics.rgb_mean.tolist(),
        "eigenvalues": statistics.eigenvalues.tolist(),
        "eigenvectors": statistics.eigenvectors.tolist(),
        "versions": VERSIONS,
    }
