"""The network of a run directory, and how it was trained."""

import dataclasses
from pathlib import Path
from typing import Any

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.pretrained.loaded_network import LoadedNetwork
from keras_alexnet.run_directory import RunConfig, RunDirectory
from pipelines.regular_files import read_csv

# Columns of results.csv that a model card repeats.
_RESULT_FIELDS = ("dataset", "split", "crops", "images", "skipped", "top1_error", "top5_error", "loss")
# Those that files of older versions lack.
_NEWER_FIELDS = ("macro_error", "calibration_error")


def load_run(path: Path) -> LoadedNetwork:
    """The network of a run directory with its newest checkpoint."""
    model, config, steps = load_trained(path)
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=True,
        resize=config.resize,
        resized_size=config.size_before_crops,
        class_names=config.class_names,
        display_names=config.labels(),
        training=training_record(path, config, steps),
        steps=steps,
        network=config.network,
        options=config.options,
    )


def training_record(model_dir: Path, config: RunConfig, steps: int) -> dict[str, Any]:
    """How the network of a run directory was trained, on what, and its error rates, as JSON can hold it.

    `error_rates` are the rows of results.csv, as `keras_alexnet.evaluate` writes it, that belong to these `steps`:
    the newest of each dataset, split and crops. Empty if the network has not been evaluated.
    """
    fields = dataclasses.asdict(config)
    bad_images = fields.pop("bad_images")
    del fields["class_names"], fields["label_names"]
    statistics = RunDirectory(model_dir).statistics
    return fields | {
        "steps": steps,
        "bad_images_left_out": len(bad_images),
        "error_rates": _error_rates(model_dir / "results.csv", steps),
        "statistics": {
            "images": int(statistics.count),
            "rgb_mean": [float(value) for value in statistics.rgb_mean],
            "rgb_covariance": [[float(value) for value in row] for row in statistics.rgb_covariance],
        },
    }


def _error_rates(results: Path, steps: int) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    rows = [row for row in read_csv(results) if row.get("steps") == str(steps)]
    for row in rows:
        row["crops"] = row.get("crops") or row.get("views")  # its name in version 0.1
    newest = {(row.get("dataset"), row.get("split"), row["crops"]): row for row in rows}
    return [
        {name: _number(row.get(name)) for name in _RESULT_FIELDS}
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
