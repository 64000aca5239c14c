"""Command: trains networks under equal conditions and compares their errors and costs.

    python -m keras_alexnet.compare --networks=resnet_20,squeezenet_cifar --dataset=prepared/cifar10 --epochs=20
    python -m keras_alexnet.compare --networks=resnet_20,resnet_20+cutout=16 --dataset=prepared/cifar10 --epochs=20
    python -m keras_alexnet.compare --networks=wrn_28_10,densenet_bc_190_40 --dataset=prepared/cifar10 --epochs=0

All networks get the same flags: batch 128, learning rate 0.1 divided by 10 at half and at three quarters of the epochs,
random crops and horizontal flips, and the weight decay of each network's authors. Networks without batch normalization
start at 0.01 (cuda-convnet's at 0.001); --learning_rates changes single ones. All networks are built once before the
first is trained, so that wrong names and values fail at once. Each is trained, evaluated, exported and measured; with
--epochs=0 it is only measured, with random weights. Its rows are written before the next network begins. The same
command resumes a comparison that was interrupted; another one with the same dataset adds networks.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from keras_alexnet.networks import NAME_FORMS
from pipelines.atomic import writable_directory
from pipelines.choices import DATASET_FORMS
from pipelines.cli import UsageError, define_path, run

if TYPE_CHECKING:
    from keras_alexnet.experiments.experiment import Experiment


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_list(
        "networks",
        None,
        "networks, each with changes such as resnet_20+survival=0.5+cutout=16 (an option of the network, a flag of "
        f"training): {NAME_FORMS}",
        required=True,
    )
    flags.DEFINE_string("dataset", None, DATASET_FORMS, required=True)
    define_path("data_dir", None, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set")
    flags.DEFINE_integer(
        "epochs", 20, "passes over the training images; 0 measures the networks with random weights", 0, 1_000_000
    )
    flags.DEFINE_list("learning_rates", [], "initial learning rates of individual networks, such as paper=0.02")
    flags.DEFINE_list("seeds", ["0"], "random seeds; each network is trained once for each")
    flags.DEFINE_multi_string("train_flag", [], "additional flag of keras_alexnet.train for all networks; repeatable")
    define_path("work_dir", "runs", "directory for run directories")
    define_path("results_dir", "comparison", "directory for tables and figures: comparison_<dataset>.csv and others")
    flags.DEFINE_alias("output_dir", "results_dir")


def main(argv: Sequence[str]) -> int:
    """Compares; returns 143 if it was interrupted."""
    options = flags.FLAGS
    from keras_alexnet.experiments.commands import RunInterrupted, sigterm_interrupts
    from keras_alexnet.experiments.comparison import comparison
    from keras_alexnet.experiments.comparison_report import print_table, write_figures
    from keras_alexnet.experiments.experiment import parse_seeds

    rates = dict(_rate(text) for text in options.learning_rates)
    seeds = parse_seeds(options.seeds)
    results_dir = writable_directory("results_dir", options.results_dir)
    # This process builds networks; those that train them need most of the GPU's memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    experiment = comparison(options.networks, options.dataset, options.epochs, rates)
    try:
        with sigterm_interrupts():
            failed = _run(experiment, seeds, results_dir, options)
    except RunInterrupted:
        print("interrupted; run the same command again to resume")
        return 143
    print_table(results_dir, experiment.name)
    if write_figures(results_dir, experiment.name):
        print(f"wrote {results_dir}/{experiment.name}.svg and {experiment.name}_curves.svg")
    tables = [f"{experiment.name}.csv", f"{experiment.name}_costs.csv"]
    print(f"tables in {results_dir}: {', '.join(name for name in tables if (results_dir / name).exists()) or 'none'}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _run(experiment: Experiment, seeds: Sequence[int], results_dir: Path, options: flags.FlagValues) -> list[str]:
    """Trains and measures; returns a line for each network that failed, after which the others follow."""
    from keras_alexnet.experiments.comparison import parse_entry
    from keras_alexnet.experiments.costs import measure_costs, read_costs
    from keras_alexnet.experiments.results import read_results
    from keras_alexnet.experiments.runner import check_flags, prepared_dataset, run_directory, run_experiment
    from pipelines.datasets.registry import open_source

    if options.epochs:
        check_flags(experiment, experiment.runs, options.train_flag)
    work_dir = Path(options.work_dir)
    prepared = prepared_dataset(experiment, options.dataset, work_dir, options.data_dir)
    source = open_source(str(prepared))
    entries = [parse_entry(name) for name in options.networks]
    # Before hours are spent on the first network.
    for entry in entries:
        # A network that takes whole images would be trained on parts of larger ones.
        is_whole = entry.takes_whole_images and options.epochs > 0
        expected = str(source.size) if is_whole else f"at most {source.size}"
        if entry.image_size > source.size or (is_whole and entry.image_size < source.size):
            raise UsageError(
                f"networks={entry.text}: takes images of {entry.image_size} pixels; expected {expected}, as in "
                f"{options.dataset}"
            )
    if options.epochs and "validation" not in source.splits:
        raise UsageError(
            f"dataset={options.dataset}: has no validation split; expected one, such as python -m pipelines.prepare "
            "makes of an image folder with validation_fraction=0.1"
        )
    # Damaged tables are errors here, not after the first training.
    rows = read_results(results_dir, experiment.name)
    read_costs(results_dir, experiment.name)
    images = {row.images for row in rows} - {source.splits.get("validation")}
    if options.epochs and images:
        raise UsageError(
            f"results_dir={results_dir}: has results on {', '.join(map(str, sorted(images)))} validation images; "
            f"{options.dataset} has {source.splits['validation']:,} and is another dataset of the same name; expected "
            "another directory for it"
        )
    failed = []
    for seed in seeds:
        for entry in entries:
            run_dir = run_directory(work_dir, experiment.name, entry.run_name, seed) if options.epochs else None
            try:
                if options.epochs:
                    run_experiment(
                        experiment,
                        options.dataset,
                        work_dir,
                        results_dir,
                        data_dir=options.data_dir,
                        runs=[entry.run_name],
                        seeds=[seed],
                        flags=options.train_flag,
                    )
                measure_costs(entry, len(source.class_names), run_dir, results_dir, experiment.name)
            except ValueError as error:
                failed.append(f"{entry.text}, seed {seed}: {error}")
    return failed


def _rate(text: str) -> tuple[str, float]:
    name, _, rate = text.rpartition("=")
    with contextlib.suppress(ValueError):
        if name:
            return name, float(rate)
    raise UsageError(f"learning_rates={text}: expected network=number")


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
