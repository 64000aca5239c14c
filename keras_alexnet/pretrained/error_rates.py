"""The error rates of a network in results.csv, which `keras_alexnet.evaluate` writes."""

from pathlib import Path
from typing import Any

from pipelines.cli.regular_files import read_csv

# Columns of results.csv that a model card repeats.
_FIELDS = ("dataset", "split", "crops", "images", "skipped", "top1_error", "top5_error", "loss")
# Those that files of older versions lack.
_NEWER_FIELDS = ("macro_error", "calibration_error")


def read_error_rates(results: Path, steps: str, models: str | None = None) -> list[dict[str, Any]]:
    """The newest row of each dataset, split and crops.

    Args:
      results: the file; it need not exist.
      steps: number of training steps of the network, of several joined by " + ".
      models: path of the network, of several joined by " + "; of any if None.
    """
    if not results.exists():
        return []
    rows = [
        row
        for row in read_csv(results)
        if row.get("steps") == steps and (models is None or row.get("model_dir") == models)
    ]
    for row in rows:
        row["crops"] = row.get("crops") or row.get("views")  # its name in version 0.1
    newest = {(row.get("dataset"), row.get("split"), row["crops"]): row for row in rows}
    return [
        {name: _number(row.get(name)) for name in _FIELDS}
        | {name: _number(row[name]) for name in _NEWER_FIELDS if row.get(name)}
        for row in newest.values()
    ]


def _number(text: str | None) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text
