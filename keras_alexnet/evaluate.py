"""Command: top-1 and top-5 error of a trained network, over every image exactly once.

python -m keras_alexnet.evaluate --model_dir=build/photos
"""

import csv
import datetime
import fcntl
import os
import sys
from pathlib import Path

import keras
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from keras_alexnet.pretrained import define_network_flags, open_network
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.training.evaluation import ErrorRates, Evaluator
from pipelines.choices import DATASET_FORMS
from pipelines.cli import reason_of, run
from pipelines.datasets.class_order import reordered
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.input import evaluation_batches

VIEWS = ("center", "ten")
COLUMNS = (
    "time",
    "model_dir",
    "steps",
    "dataset",
    "split",
    "views",
    "images",
    "skipped",
    "top1_error",
    "top5_error",
    "loss",
)


def define_flags() -> None:
    """Flags of this command."""
    define_network_flags()
    flags.DEFINE_string("dataset", None, f"{DATASET_FORMS}; what the network was trained on if not set")
    flags.DEFINE_string("data_dir", None, "where TFDS keeps datasets; as in training if not set")
    flags.DEFINE_string("split", "validation", "which images: train, validation or test")
    flags.DEFINE_multi_enum("views", list(VIEWS), VIEWS, "center crop, or the paper's ten; may be given twice")
    flags.DEFINE_string(
        "results_file", None, "CSV to append to; <model_dir>/results.csv, or results.csv here, if not set"
    )
    flags.DEFINE_integer("batch_size", 32, "images at a time", lower_bound=1)
    flags.DEFINE_float("max_bad_fraction", 0.001, "share of images that may be undecodable", 0.0, 1.0)


def open_evaluation_source(description: RunConfig, dataset: str | None, data_dir: str | None) -> Source:
    """The dataset to evaluate on: `dataset`, or what the network was trained on.

    Raises:
      ValueError: if there is no such dataset, or its classes are not the network's.
    """
    if not (dataset or description.dataset):
        raise ValueError("dataset is missing: expected what to evaluate published weights on")
    source = open_source(dataset or description.dataset, data_dir or description.data_dir)
    known = description.class_names[: len(source.class_names)]
    if sorted(known) == sorted(source.class_names):
        source = reordered(source, known)
    for label, (expected, found) in enumerate(zip(known, source.class_names, strict=False)):
        if expected != found:
            raise ValueError(f"dataset={source.name}: class {label} is {found!r}; the network's is {expected!r}")
    if len(known) < len(source.class_names):
        raise ValueError(f"dataset={source.name} has {len(source.class_names)} classes; the network has {len(known)}")
    return source


def evaluate(
    model: keras.Model,
    source: Source,
    split: str,
    views: str,
    resize: str,
    batch_size: int,
    max_bad_fraction: float,
) -> ErrorRates:
    """Error rates of `model` (which gives logits) over a split, with a progress bar on a terminal.

    Raises:
      ValueError: if the split is missing or empty, or more images than allowed cannot be decoded.
    """
    images = source.splits[source.split(split)]
    batches = evaluation_batches(source, split, batch_size=batch_size, resize=resize)
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{views} view{'s' if views == 'ten' else ''}", total=images)
        rates = Evaluator(model, views)(batches, lambda seen: progress.update(task, completed=seen))
    for key in rates.bad[:20]:
        print(f"skipped {key}: cannot be decoded", file=sys.stderr)
    if not rates.images or len(rates.bad) > max_bad_fraction * images:
        raise ValueError(
            f"{len(rates.bad)} of {images} images cannot be decoded ({', '.join(rates.bad[:3])}); "
            f"--max_bad_fraction={max_bad_fraction:g} allows {int(max_bad_fraction * images)}"
        )
    return rates


def append_result(path: Path, result: dict[str, object]) -> None:
    """Appends one row, with a header if the file is new. Safe with several processes at once.

    Raises:
      ValueError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            # Others may have written between opening and locking.
            if file.seek(0, os.SEEK_END) == 0:
                table.writeheader()
            table.writerow(result)
    except OSError as error:
        raise ValueError(f"results_file={path}: {reason_of(error)}; expected a file that can be written") from error


def main(argv: list[str]) -> None:
    """Evaluates, prints and appends one row for each kind of views."""
    options = flags.FLAGS
    model, description, steps = open_network(options)
    evaluated = options.model_dir or options.weights
    source = open_evaluation_source(description, options.dataset, options.data_dir)
    default = Path(options.model_dir) / "results.csv" if options.model_dir else Path("results.csv")
    results_file = Path(options.results_file or default)
    for views in dict.fromkeys(options.views):
        rates = evaluate(
            model,
            source,
            options.split,
            views,
            description.resize,
            options.batch_size,
            options.max_bad_fraction,
        )
        result = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "model_dir": evaluated,
            "steps": steps,
            "dataset": source.name,
            "split": options.split,
            "views": views,
            "images": rates.images,
            "skipped": len(rates.bad),
            "top1_error": rates.top1_error,
            "top5_error": rates.top5_error,
            "loss": rates.loss,
        }
        append_result(results_file, result)
        print(
            f"{views:6} {rates.images} images of {source.name} {options.split} ({len(rates.bad)} skipped): "
            f"top-1 error {rates.top1_error:.2%}, top-5 error {rates.top5_error:.2%}",
            flush=True,
        )
    print(f"appended to {results_file}")


if __name__ == "__main__":
    run(main, define_flags)
