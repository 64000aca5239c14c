"""Command: trains networks under equal conditions and compares their errors and costs.

    python -m keras_alexnet.compare --networks=resnet_20,squeezenet_cifar --dataset=prepared/cifar10 --epochs=20
    python -m keras_alexnet.compare --networks=paper,resnet_18 --dataset=prepared/imagenette --epochs=30

All networks get the same flags: batch 128, learning rate 0.1 divided by 10 at half and at three quarters of the epochs,
random crops and horizontal flips, and the weight decay of each network's authors. Networks without batch normalization
start at 0.01 or less; --learning_rates changes single ones. Each network is trained, evaluated, exported and measured.
The same command resumes a comparison that was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from pipelines.choices import DATASET_FORMS
from pipelines.cli import UsageError, define_path, run

if TYPE_CHECKING:
    from keras_alexnet.experiments.comparison import Row


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_list(
        "networks",
        None,
        "names: AlexNet variants, networks of the survey, keras.applications.<constructor>, package.module:function",
        required=True,
    )
    flags.DEFINE_string("dataset", None, DATASET_FORMS, required=True)
    define_path("data_dir", None, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set")
    flags.DEFINE_integer("epochs", 20, "passes over the training images", 1, 1_000_000)
    flags.DEFINE_list("learning_rates", [], "initial learning rates of single networks, such as paper=0.02")
    flags.DEFINE_list("seeds", ["0"], "one training of each network for each seed")
    flags.DEFINE_multi_string("train_flag", [], "one more flag of keras_alexnet.train, for all networks")
    define_path("work_dir", "runs", "directory for run directories and exports")
    define_path("output_dir", "comparison", "directory for comparison.csv, comparison.png and curves.png")


def main(argv: Sequence[str]) -> int:
    """Compares; returns 143 if it was interrupted."""
    options = flags.FLAGS
    from keras_alexnet.experiments.runner import RunInterrupted
    from pipelines.atomic import write_file

    try:
        measured = _train_and_measure(options)
    except RunInterrupted:
        print("interrupted; the same command continues")
        return 143
    from keras_alexnet.experiments.comparison import csv_text

    output_dir = Path(options.output_dir)
    write_file(output_dir / "networks.csv", csv_text(measured))
    _print_table(measured)
    _write_figures(measured, output_dir)
    print(f"wrote {output_dir}/networks.csv")
    return 0


def _train_and_measure(options: flags.FlagValues) -> list[Row]:
    from keras_alexnet.experiments import comparison
    from keras_alexnet.experiments.experiment import parse_seeds
    from keras_alexnet.experiments.results import read_results
    from keras_alexnet.experiments.runner import run_directory, run_experiment

    rates = dict(_rate(text) for text in options.learning_rates)
    experiment = comparison.comparison(options.networks, options.dataset, options.epochs, rates)
    work_dir, output_dir = Path(options.work_dir), Path(options.output_dir)
    run_experiment(
        experiment,
        options.dataset,
        work_dir,
        output_dir,
        data_dir=options.data_dir,
        seeds=parse_seeds(options.seeds),
        flags=options.train_flag,
    )
    results = read_results(output_dir, experiment.name)
    return list(
        comparison.rows(
            options.networks,
            results,
            lambda result: run_directory(work_dir, *result.key),
            work_dir / "exports",
        )
    )


def _rate(text: str) -> tuple[str, float]:
    name, _, rate = text.rpartition("=")
    try:
        return name, float(rate)
    except ValueError as error:
        raise UsageError(f"learning_rates={text}: expected network=number") from error


def _print_table(measured: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="ten-crop and centre: top-1 error; ms: processor time for one image")
    headings = ("ten-crop", "centre", "training", "parameters", "multiply-adds", "ms ten-crop", "ms centre", "MB")
    table.add_column("network")
    for heading in (*headings, "CPU hours", "rate", "survey", "authors"):
        table.add_column(heading, justify="right")
    for row in measured:
        errors = (row.ten_crop_top1_error, row.center_top1_error, row.train_top1_error)
        reported = ("" if error is None else f"{error:.1%}" for error in (row.survey_error, row.authors_error))
        table.add_row(
            row.network,
            *(f"{error:.2%}" for error in errors),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            f"{row.cpu_ms_ten_crop:.1f}",
            f"{row.cpu_ms_center:.1f}",
            f"{row.export_mb:.1f}",
            f"{row.cpu_hours:.2f}",
            f"{row.learning_rate:g}",
            *reported,
        )
    Console().print(table)


def _write_figures(measured: Sequence[Row], output_dir: Path) -> None:
    try:
        import matplotlib  # noqa: F401 (an optional dependency: the numbers are written without it)
    except ModuleNotFoundError:
        print("no figures: pip install 'keras-alexnet[figures]'")
        return
    from keras_alexnet import plots
    from keras_alexnet.experiments.comparison import NAME, run_name
    from keras_alexnet.experiments.results import read_curve

    costs: dict[str, dict[str, float]] = {
        "trainable parameters": {row.network: row.parameters for row in measured},
        "multiply-adds per image": {row.network: row.multiply_adds for row in measured},
        "processor time per image, centre crop (ms)": {row.network: row.cpu_ms_center for row in measured},
        "size of the export (MB)": {row.network: row.export_mb for row in measured},
    }
    plots.comparison_figure({row.network: row.ten_crop_top1_error for row in measured}, costs).savefig(
        output_dir / "comparison.png", dpi=150
    )
    paths = {row.network: sorted((output_dir / "curves").glob(f"{NAME}-{run_name(row.network)}-*")) for row in measured}
    curves = {name: read_curve(found[0]) for name, found in paths.items()}
    plots.learning_curves_figure(curves).savefig(output_dir / "curves.png", dpi=150)
    print(f"wrote {output_dir}/comparison.png and curves.png")


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
