"""The nearest neighbours of photographs, among the images of a split or the rows of a file of features."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_alexnet.pretrained import LoadedNetwork
from keras_alexnet.visualize.photographs import Photograph, decoder
from keras_alexnet.visualize.scoring import Scores
from pipelines.cli import reason_of
from pipelines.cli.progress import progress_bar
from pipelines.cli.regular_files import MAX_IMAGE_BYTES, open_file, unreadable_reason
from pipelines.cli.safe_text import cell_text, from_printable
from pipelines.datasets.source import Source
from pipelines.input import evaluation_batches

_BATCH = 256
_MOST_LINE_BYTES = 2**24

# Path and features of an image; None if it failed.
Row = tuple[str, list[float] | None]


class Nearest:
    """The `count` rows with the smallest Euclidean distances from each query, of rows that come in batches.

    Args:
      queries: features `[M, F]`.
      count: rows to keep per query.

    Attributes:
      size: F.
      best: for each query a list of (distance, item), nearest first.
    """

    def __init__(self, queries: np.ndarray, count: int):
        self._queries, self._count, self.size = np.asarray(queries, np.float32), count, queries.shape[1]
        self.best: list[list[tuple[float, Any]]] = [[] for _ in queries]

    def add(self, features: np.ndarray, items: Iterable[Any]) -> None:
        """Adds rows `[N, F]`, each with an item; of equal distances the earlier row is nearer."""
        items = list(items)
        for place, query in enumerate(self._queries):
            distances = np.sqrt(np.square(features - query).sum(1, dtype=np.float64))
            merged = [*self.best[place], *zip(np.nan_to_num(distances, nan=np.inf).tolist(), items, strict=True)]
            self.best[place] = sorted(merged, key=lambda entry: entry[0])[: self._count]


def in_split(
    network: LoadedNetwork, source: Source, split: str, scores: Scores, nearest: Nearest, excluded: set[str]
) -> list[list[tuple[float, Photograph]]]:
    """Compares every image of a split; shows a progress bar.

    Args:
      network: says how images are resized.
      source: the dataset.
      split: of it.
      scores: gives the features.
      nearest: gets the images.
      excluded: keys of images that are not compared: the queries.

    Returns:
      For each query its neighbours with their distances.
    """
    batches = evaluation_batches(source, split, batch_size=64, resize=network.resize, size=network.resized_size)
    with progress_bar(f"features of {split}", source.splits[split]) as bar:
        done = 0
        for images, labels, valid, keys in batches.as_numpy_iterator():
            names = [key.decode(errors="replace") for key in keys]
            used = [row for row, name in enumerate(names) if valid[row] and name not in excluded]
            if used:
                # A copy of each image: a view would keep its whole batch.
                found = [Photograph(images[row].copy(), names[row], int(labels[row])) for row in used]
                nearest.add(scores(images[used]), found)
            done += len(names)
            bar.update(done)
    return nearest.best


def in_file(network: LoadedNetwork, path: Path, nearest: Nearest) -> list[list[tuple[float, Photograph]]]:
    """Compares the rows of a file of features, as `keras_alexnet.predict` writes them.

    Args:
      network: says how images are resized.
      path: .parquet or .jsonl with "path" and "features", or .csv with path, feature_0, feature_1, ... Paths may be
        relative to the file. Image files that are gone are drawn as grey tiles.
      nearest: gets the rows.

    Returns:
      For each query its neighbours with their distances.

    Raises:
      ValueError: the file cannot be read, or its features are not of the queries' size.
    """
    add_file(path, nearest)
    decode = decoder(network)
    return [[(distance, _photograph(network, decode, path, name)) for distance, name in row] for row in nearest.best]


def add_file(path: Path, nearest: Nearest) -> None:
    """Compares the rows of a file of features; its items are the paths in the file.

    Args:
      path: as for `in_file`.
      nearest: gets the rows.

    Raises:
      ValueError: the file cannot be read, or its features are not of the queries' size.
    """
    rows = 0
    try:
        for paths, features in _read_features(path):
            if features.shape[1] != nearest.size:
                raise ValueError(
                    f"{features.shape[1]} features per image; expected {nearest.size}, as of this network and layer"
                )
            nearest.add(features, paths)
            rows += len(paths)
    except (OSError, ImportError, KeyError, TypeError, ValueError, csv.Error) as error:
        reason = f"found no column {error}" if isinstance(error, KeyError) else reason_of(error)
        raise ValueError(f"features_file={path}: {reason}") from error
    if not rows:
        raise ValueError(f"features_file={path}: found no row with features")


def _photograph(network: LoadedNetwork, decode: Any, features_file: Path, name: str) -> Photograph:
    paths = [Path(folder, text) for text in (name, from_printable(name)) for folder in ("", features_file.parent)]
    for path in paths:
        if unreadable_reason(path, MAX_IMAGE_BYTES) is None:
            image, valid = decode(path.read_bytes())
            if valid:
                return Photograph(image.numpy(), path.name)
    print(f"{name}: found no image there", file=sys.stderr)
    size = network.resized_size
    return Photograph(np.full((size, size, 3), 200, np.uint8), Path(name).name)


def _read_features(path: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """Paths and features `[N, F]` in batches; rows without features, of images that failed, are left out."""
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv", ".jsonl"):
        raise ValueError("expected a .parquet, .csv or .jsonl file")
    with open_file(path) as file:
        if suffix == ".parquet":
            yield from _read_parquet(file)
            return
        rows = _csv_rows(file) if suffix == ".csv" else _jsonl_rows(file)
        while batch := list(itertools.islice(rows, _BATCH)):
            kept = [(name, features) for name, features in batch if features]
            if kept:
                yield [name for name, _ in kept], np.array([row for _, row in kept], np.float32)


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a file of any size, of which a line is in memory at a time."""
    while line := file.readline(_MOST_LINE_BYTES + 1):
        if len(line) > _MOST_LINE_BYTES:
            raise ValueError(f"found a line of more than {_MOST_LINE_BYTES:,} bytes")
        yield line.decode()


def _csv_rows(file: BinaryIO) -> Iterator[Row]:
    for row in csv.DictReader(_lines(file)):
        if "feature_0" not in row:
            raise KeyError("feature_0")
        texts = [text for name, text in row.items() if name and name.startswith("feature_")]
        # A failed image has empty cells only. Other programs may write NaN as an empty cell.
        yield cell_text(row["path"]), [float(text or "nan") for text in texts] if any(texts) else None


def _jsonl_rows(file: BinaryIO) -> Iterator[Row]:
    for line in _lines(file):
        row = json.loads(line)
        yield row["path"], row["features"]


def _read_parquet(source: BinaryIO) -> Iterator[tuple[list[str], np.ndarray]]:
    # An optional dependency, of the command that writes these files.
    from pyarrow import parquet

    with parquet.ParquetFile(source) as file:
        for name in ("path", "features"):
            if name not in file.schema_arrow.names:
                raise KeyError(name)
        for batch in file.iter_batches(_BATCH, columns=["path", "features"]):
            kept = batch.filter(batch.column("features").is_valid())
            if kept.num_rows:
                values = kept.column("features").flatten().to_numpy(zero_copy_only=False)
                yield kept.column("path").to_pylist(), values.reshape(kept.num_rows, -1).astype(np.float32)
