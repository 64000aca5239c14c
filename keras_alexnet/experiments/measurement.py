"""The results of trained runs and of averages of them, measured by the evaluate command."""

import csv
import dataclasses
import datetime
import importlib.metadata
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_alexnet.experiments.commands import run_command
from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.results import Result, read_curve
from keras_alexnet.plots.curves import epoch_of_error
from keras_alexnet.provenance import git_revision, processor

# In a run directory: a row of wall-clock and processor seconds for each attempt to train it.
SECONDS_FILE = "seconds.csv"


def of_run(experiment: Experiment, run: Run, seed: int, run_dir: Path, command: str, dataset: str) -> Result:
    """Evaluates a trained run.

    Args:
      experiment, run, seed: what was trained.
      run_dir: its run directory, with the time that training took in SECONDS_FILE.
      command: the training command, with placeholders for paths.
      dataset: its name, see `results.dataset_name`.
    """
    errors = _errors(run_dir / "experiment_errors.csv", [run_dir])
    curve = read_curve(run_dir / "metrics.csv")
    best, last = min(curve, key=lambda row: row["val_top1_error"]), curve[-1]
    with open(run_dir / SECONDS_FILE, newline="", encoding="utf-8") as file:
        seconds = [tuple(map(float, row)) for row in csv.reader(file)]
    return Result(
        experiment=experiment.name,
        run=run.name,
        seed=seed,
        epochs=int(last["epoch"]),
        **errors,
        best_epoch=int(best["epoch"]),
        best_center_top1_error=best["val_top1_error"],
        train_loss=last["loss"],
        train_top1_error=last["top1_error"],
        epochs_to_target=epoch_of_error(curve, experiment.target) if experiment.target else None,
        hours=sum(wall for wall, _ in seconds) / 3600,
        cpu_hours=sum(cpu for _, cpu in seconds) / 3600,
        command=command,
        dataset=dataset,
        **_origin(),
    )


def of_average(
    experiment: Experiment, run: Run, members: Sequence[Result], run_dirs: Sequence[Path], work_dir: Path
) -> Result:
    """Evaluates the average of networks.

    Args:
      experiment: of the run.
      run: one with `average_of`.
      members: the results of the networks, in the order of `experiment.seeds`.
      run_dirs: where each of them is.
      work_dir: gets a file of error rates.
    """
    errors = _errors(work_dir / f"{experiment.name}-{run.name}-errors.csv", run_dirs)
    placeholders = [f"--model=RUN_{seed}" for seed in experiment.seeds]
    last = members[-1]
    return dataclasses.replace(
        last,
        run=run.name,
        seed=experiment.seeds[0],
        **errors,
        best_center_top1_error=errors["center_top1_error"],
        best_epoch=last.epochs,
        train_loss=statistics.mean(member.train_loss for member in members),
        train_top1_error=statistics.mean(member.train_top1_error for member in members),
        hours=sum(member.hours for member in members),
        cpu_hours=sum(member.cpu_hours for member in members),
        command=shlex.join(["python", "-m", "keras_alexnet.evaluate", *placeholders]),
        **_origin(),
    )


def _errors(rows_file: Path, run_dirs: Sequence[Path]) -> dict[str, Any]:
    """What `keras_alexnet.evaluate` measures, by the names of the fields of `Result`."""
    rows_file.unlink(missing_ok=True)
    models = [f"--model={run_dir}" for run_dir in run_dirs]
    run_command("keras_alexnet.evaluate", *models, f"--results_file={rows_file}")
    with open(rows_file, newline="", encoding="utf-8") as file:
        rows = {row["crops"]: row for row in csv.DictReader(file)}
    return {
        "images": int(rows["ten"]["images"]),
        "center_top1_error": float(rows["center"]["top1_error"]),
        "ten_crop_top1_error": float(rows["ten"]["top1_error"]),
        "nine_crop_top1_error": float(rows["nine"]["top1_error"]) if "nine" in rows else None,
    }


def _origin() -> dict[str, Any]:
    """Where and when a result was measured, by the names of the fields of `Result`."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"revision": _revision(), "processor": processor(), "date": date}


def _revision() -> str:
    """The revision of a checkout, with "+" if files were changed; the version of an installed package."""
    revision = git_revision()
    if revision is None:
        return importlib.metadata.version("keras-alexnet")
    return revision[:7] + ("+" if revision.endswith("-dirty") else "")
