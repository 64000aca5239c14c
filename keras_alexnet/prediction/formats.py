"""Files of predictions: CSV, JSON lines and Parquet, written in parts and joined."""

import csv
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_alexnet.prediction.predictor import Prediction
from pipelines.cli.safe_text import json_line, printable, spreadsheet_cell


@dataclass(frozen=True)
class Columns:
    """What a row has besides path, valid and reason.

    Attributes:
      top_k: number of classes.
      features: number of features; 0 for none.
    """

    top_k: int
    features: int = 0


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
      write: writes the rows of a part.
      join: writes the output from its parts, in order; takes one part at a time into memory.
    """

    write: Callable[[Sequence[Prediction], Columns, Path], None]
    join: Callable[[Sequence[Path], Columns, Path], None]


def find_format(path: Path) -> Format:
    """The format that the suffix of `path` names.

    Raises:
      ValueError: the suffix is another one, or pyarrow is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"output={path}: expected a name that ends in {', '.join(FORMATS)}")
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ValueError(f"output={path}: needs pyarrow: pip install 'keras-alexnet[parquet]'") from error
    return FORMATS[suffix]


def _record(prediction: Prediction, columns: Columns) -> dict[str, Any]:
    record = {
        "path": prediction.path,
        "valid": prediction.valid,
        "reason": prediction.reason,
        "labels": prediction.labels,
        "classes": prediction.classes,
        "scores": [_shortest(score) for score in prediction.scores],
    }
    if columns.features:
        record["features"] = _features(prediction)
    return record


def _shortest(number: float) -> float:
    # Nine digits identify a float32.
    return float(f"{number:.9g}")


def _features(prediction: Prediction) -> list[float] | None:
    return None if prediction.features is None else [_shortest(value) for value in prediction.features.tolist()]


def _write_jsonl(predictions: Sequence[Prediction], columns: Columns, path: Path) -> None:
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{json_line(_record(prediction, columns))}\n" for prediction in predictions)


def _csv_header(columns: Columns) -> list[str]:
    ranked = [f"{name}_{rank}" for rank in range(1, columns.top_k + 1) for name in ("label", "class", "score")]
    return ["path", "valid", "reason", *ranked, *(f"feature_{index}" for index in range(columns.features))]


def _csv_row(prediction: Prediction, columns: Columns) -> Iterator[Any]:
    yield from (spreadsheet_cell(prediction.path), str(prediction.valid).lower(), spreadsheet_cell(prediction.reason))
    if not prediction.valid:
        yield from [""] * (3 * columns.top_k + columns.features)
        return
    for label, number, score in zip(prediction.labels, prediction.classes, prediction.scores, strict=True):
        yield from (spreadsheet_cell(label), number, _shortest(score))
    yield from _features(prediction) or ()


def _write_csv(predictions: Sequence[Prediction], columns: Columns, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(_csv_row(prediction, columns) for prediction in predictions)


def _join_csv(parts: Sequence[Path], columns: Columns, path: Path) -> None:
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(_csv_header(columns))
    _concatenate(parts, path, header.getvalue().encode())


def _join_jsonl(parts: Sequence[Path], columns: Columns, path: Path) -> None:
    del columns
    _concatenate(parts, path)


def _concatenate(parts: Sequence[Path], path: Path, header: bytes = b"") -> None:
    with open(path, "wb") as output:
        output.write(header)
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, output, 2**20)


def _parquet_schema(columns: Columns) -> Any:
    import pyarrow as pa

    fields = {
        "path": pa.string(),
        "valid": pa.bool_(),
        "reason": pa.string(),
        "labels": pa.list_(pa.string()),
        "classes": pa.list_(pa.int32()),
        "scores": pa.list_(pa.float32()),
    }
    return pa.schema(fields | ({"features": pa.list_(pa.float32())} if columns.features else {}))


def _write_parquet(predictions: Sequence[Prediction], columns: Columns, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _parquet_schema(columns)
    # Names that are not UTF-8 cannot be stored as text.
    names = [printable(p.path) for p in predictions]
    values: dict[str, Any] = {name: [getattr(p, name) for p in predictions] for name in schema.names[1:]}
    values["path"] = names
    if columns.features:
        values["features"] = [None if p.features is None else np.asarray(p.features, np.float32) for p in predictions]
    table = pa.table({name: pa.array(values[name], schema.field(name).type) for name in schema.names}, schema)
    pq.write_table(table, path)


def _join_parquet(parts: Sequence[Path], columns: Columns, path: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, _parquet_schema(columns)) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


FORMATS: Mapping[str, Format] = {
    ".csv": Format(_write_csv, _join_csv),
    ".jsonl": Format(_write_jsonl, _join_jsonl),
    ".parquet": Format(_write_parquet, _join_parquet),
}
