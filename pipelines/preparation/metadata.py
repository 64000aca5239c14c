"""What turns files of records into a prepared dataset: TFDS's description, statistics.npz and summary.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pipelines.atomic import write_file
from pipelines.datasets.prepared_shards import STATISTICS_FILE, SUMMARY_FILE
from pipelines.datasets.source import Source
from pipelines.preparation.shard import DATASET_DIR, VERSIONS, Shard, ShardConfig, file_template, stored_statistics
from pipelines.statistics import Accumulator, Statistics


@dataclass
class _SplitTotal:
    """The statistics of a split's shards, added up."""

    class_counts: np.ndarray
    shard_lengths: list[int] = field(default_factory=list)
    record_bytes: int = 0
    seen: int = 0


def write_metadata(
    source: Source, plan: Sequence[Shard], config: ShardConfig, directory: Path, label_names: Mapping[str, str]
) -> dict:
    """Describes the records of all shards, which are complete, in the staging directory.

    Returns:
      The contents of summary.json.

    Raises:
      ValueError: a split has no good image.
      OSError: the files cannot be written.
    """
    totals: dict[str, _SplitTotal] = {}
    sums = Accumulator()
    bad = {key: reason for files in source.bad_files.values() for key, reason in files.items()}
    # One at a time: those of ImageNet's training set would fill a gigabyte.
    for shard in plan:
        statistics = stored_statistics(shard, config, directory)
        if statistics is None:
            raise ValueError(f"{shard.records_file(directory)}: was changed while the preparation was running")
        total = totals.setdefault(shard.split, _SplitTotal(np.zeros_like(statistics.class_counts)))
        total.class_counts += statistics.class_counts
        total.shard_lengths.append(int(statistics.class_counts.sum()))
        total.record_bytes += statistics.record_bytes
        total.seen += statistics.seen
        sums.merge(statistics.sums)
        bad |= statistics.bad
    for split, total in totals.items():
        if not total.class_counts.sum():
            raise ValueError(f"dataset={source.name}: none of {total.seen} {split} images can be decoded")
    dataset = directory / DATASET_DIR
    _write_dataset_info(source, config, totals, dataset)
    result = sums.result()
    result.save(dataset / STATISTICS_FILE)
    summary = _summary(source, config, totals, result, bad, label_names)
    write_file(dataset / SUMMARY_FILE, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def _write_dataset_info(
    source: Source, config: ShardConfig, totals: Mapping[str, _SplitTotal], directory: Path
) -> None:
    identity = tfds.core.DatasetIdentity(
        name="prepared", version=tfds.core.Version("1.0.0"), data_dir=os.fspath(directory), module_name=__name__
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=f"{source.name}, resized to {config.size} x {config.size}",
        features=config.features,
    )
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=total.shard_lengths,
            num_bytes=total.record_bytes,
            filename_template=file_template(directory, split),
        )
        for split, total in totals.items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(directory)


def _summary(
    source: Source,
    config: ShardConfig,
    totals: Mapping[str, _SplitTotal],
    statistics: Statistics,
    bad: dict[str, str],
    label_names: Mapping[str, str],
) -> dict:
    return {
        "source": source.name,
        "resize": config.resize,
        "size": config.size,
        "encoding": config.encoding,
        "quality": config.quality,
        "splits": {
            split: {
                "images": int(total.class_counts.sum()),
                "classes": dict(zip(config.class_names, total.class_counts.tolist(), strict=True)),
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
