"""Runs of an experiment, through the commands that a user would type: prepare, train, evaluate."""

import contextlib
import dataclasses
import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags as absl_flags

from keras_alexnet.experiments import measurement
from keras_alexnet.experiments.commands import run_command
from keras_alexnet.experiments.definitions import EXPERIMENTS
from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.results import Result, curve_path, dataset_name, file_name, read_results, write_result
from keras_alexnet.training.flags import parse_flags
from pipelines.atomic import writable_directory
from pipelines.cli.flagfiles import expand_flagfiles
from pipelines.cli.regular_files import read_text


def run_experiment(
    experiment: Experiment,
    dataset: str,
    work_dir: Path,
    results_dir: Path,
    *,
    data_dir: str | None = None,
    runs: Sequence[str] = (),
    seeds: Sequence[int] = (),
    flags: Sequence[str] = (),
    report: Callable[[str], None] = print,
) -> list[Result]:
    """Executes the runs of an experiment that have no row yet, and adds their rows.

    An interrupted experiment continues where it stopped: finished runs are skipped, the others resumed. A run whose
    command has a row in another experiment is not executed again: it gets a copy of that row.

    Args:
      experiment: what to run.
      dataset: a directory written by `pipelines.prepare`, or what that command takes as --dataset; the latter is
        prepared once in `work_dir`.
      work_dir: gets a run directory for each run; large.
      results_dir: gets the rows and curves; small.
      data_dir: where TFDS keeps its datasets.
      runs, seeds: those to execute; all by default.
      flags: for `keras_alexnet.train`, after those of the experiment, such as --mixed_precision=bfloat16.
      report: gets one line about each step.

    Returns:
      The rows that were added.

    Raises:
      ValueError: there is no such run, a flag or its value is not accepted, a directory cannot be written, a row exists
        that another command made or that is of another dataset, or a command failed.
      RunInterrupted: by SIGTERM or Ctrl-C.
    """
    selected = [experiment.run(name) for name in runs] or list(experiment.runs)
    writable_directory("results_dir", results_dir)
    writable_directory("work_dir", work_dir)
    finished = {result.key: result for result in read_results(results_dir, experiment.name)}
    data = dataset_name(dataset)
    seeds = seeds or experiment.seeds
    missing = [run for run in selected if any((experiment.name, run.name, seed) not in finished for seed in seeds)]
    check_flags(experiment, missing, flags)
    added: list[Result] = []
    # One seed of all runs before the next seed: an experiment that is cut short can still be compared.
    for seed in seeds:
        for run in (run for run in selected if not run.average_of):
            key = (experiment.name, run.name, seed)
            shown = shown_command(experiment, run, seed, flags)
            if key in finished:
                _check_row(finished[key], shown, data, results_dir)
                report(f"{experiment.name} {run.name} seed {seed}: has a result")
                continue
            same = _same_run(experiment, results_dir, shown, data)
            if same is not None:
                result = dataclasses.replace(same, experiment=experiment.name, run=run.name)
                curve, origin = curve_path(results_dir, *same.key), f"the run {same.run} of {same.experiment}"
            else:
                prepared = prepared_dataset(experiment, dataset, work_dir, data_dir, run.subset)
                run_dir = run_directory(work_dir, experiment.name, run.name, seed)
                arguments = [*training_flags(experiment, run, seed, flags), f"--dataset={prepared}"]
                _train(run_dir, [*arguments, *_initial_weights(experiment, run, seed, work_dir)], report)
                report(f"evaluating {run_dir}")
                result = measurement.of_run(experiment, run, seed, run_dir, shown, data)
                curve, origin = run_dir / "metrics.csv", f"ten-crop top-1 error {result.ten_crop_top1_error:.2%}"
            write_result(results_dir, result, curve)
            report(f"added {run.name}, seed {seed}: {origin}")
            added.append(result)
    for run in (run for run in selected if run.average_of):
        if (experiment.name, run.name, experiment.seeds[0]) in finished:
            report(f"{experiment.name} {run.name}: has a result")
            continue
        average = _averaged(experiment, run, work_dir, results_dir, report)
        if average is not None:
            write_result(results_dir, average, None)
            report(f"added {run.name}: ten-crop top-1 error {average.ten_crop_top1_error:.2%}")
            added.append(average)
    return added


def _check_row(row: Result, command: str, dataset: str, results_dir: Path) -> None:
    """Raises ValueError if a row is of another command, or of another dataset; older rows do not name theirs."""
    if _settings(row.command) == _settings(command) and row.dataset in ("", dataset):
        return
    other = "command" if row.dataset in ("", dataset) else f"dataset, {row.dataset}"
    raise ValueError(
        f"results_dir={results_dir}: the row of {row.run}, seed {row.seed}, is of another {other} ({row.command}). "
        f"Remove it or use another directory to run this one on {dataset} ({command}), or give the flags of the row"
    )


def _settings(command: str) -> tuple[list[str], dict[str, str]]:
    """The words of a command and its flags, of which the last of each name counts."""
    words = shlex.split(command)
    # A flagfile that is gone is compared by its name.
    with contextlib.suppress(absl_flags.IllegalFlagValueError):
        words = expand_flagfiles(words)
    flags = (word.partition("=") for word in words if word.startswith("--"))
    return [word for word in words if not word.startswith("--")], {name: value for name, _, value in flags}


def _same_run(experiment: Experiment, results_dir: Path, command: str, dataset: str) -> Result | None:
    """The result of the same command in another experiment, if its learning curve is there too."""
    results = _same_runs(experiment, results_dir, command, dataset)
    return next((result for result in results if curve_path(results_dir, *result.key).exists()), None)


def _same_runs(experiment: Experiment, results_dir: Path, command: str, dataset: str) -> list[Result]:
    """The results of the same command on the dataset in all experiments with the same subsets of it and target."""
    similar = [other for other in EXPERIMENTS if _conditions(other) == _conditions(experiment)]
    results = [result for other in similar for result in read_results(results_dir, other.name)]
    same = [result for result in results if _settings(result.command) == _settings(command)]
    return [result for result in same if result.dataset == dataset]


def _conditions(experiment: Experiment) -> tuple[object, ...]:
    return experiment.dataset, experiment.subsets, experiment.target


def run_directory(work_dir: Path, experiment: str, run: str, seed: int) -> Path:
    """Where a run is trained."""
    return work_dir / f"{experiment}-{run}-{seed}"


def training_flags(experiment: Experiment, run: Run, seed: int, flags: Sequence[str] = ()) -> list[str]:
    """The flags of `keras_alexnet.train` but --dataset and --model_dir."""
    return [*experiment.flags, *run.flags, *flags, f"--seed={seed}"]


def check_flags(experiment: Experiment, runs: Sequence[Run], flags: Sequence[str]) -> None:
    """Raises ValueError if the train command would refuse the flags of a run."""
    for run in runs:
        parse_flags(training_flags(experiment, run, 0, flags))


def shown_command(experiment: Experiment, run: Run, seed: int, flags: Sequence[str] = ()) -> str:
    """The training command with placeholders for paths, as in the results."""
    words = [*training_flags(experiment, run, seed, flags)]
    words += [f"--dataset=DATASET_{run.subset}" if run.subset else "--dataset=DATASET"]
    words += [f"--init_from=RUN_{run.init_from}"] if run.init_from else []
    words += ["--model_dir=RUN"]
    return shlex.join(["python", "-m", "keras_alexnet.train", *words])


def check_prepared_size(experiment: Experiment, dataset: str) -> None:
    """Raises ValueError if `dataset` is a prepared directory with images of another size than the experiment's."""
    summary = Path(dataset, "summary.json")
    size = json.loads(read_text(summary)).get("size") if summary.is_file() else experiment.image_size
    if size != experiment.image_size:
        raise ValueError(
            f"dataset={dataset}: has images of {size} pixels; expected {experiment.image_size}, as {experiment.name} "
            f"says; prepare it with size={experiment.image_size}"
        )


def prepared_dataset(
    experiment: Experiment, dataset: str, work_dir: Path, data_dir: str | None, subset: str = ""
) -> Path:
    """The prepared dataset: `dataset` itself if it is one, else one made of it in `work_dir`.

    Args:
      experiment: says the size of the images, and what the subsets are.
      dataset, work_dir, data_dir: as for `run_experiment`.
      subset: name of the classes that it consists of; empty for all.
    """
    summary = Path(dataset, "summary.json")
    if summary.is_file() and not subset:
        return Path(dataset)
    # The images of a dataset that is prepared already are copied as they are.
    own = json.loads(read_text(summary)) if summary.is_file() else {}
    size = own.get("size", experiment.image_size)
    name = file_name(dataset)
    prepared = work_dir / "-".join(["data", name, str(size), *([experiment.name, subset] if subset else [])])
    if not prepared.exists():
        work_dir.mkdir(parents=True, exist_ok=True)
        arguments = [f"--dataset={dataset}", f"--size={size}", f"--output_dir={prepared}"]
        arguments += [f"--resize={own['resize']}"] if own else []
        arguments += [f"--data_dir={data_dir}"] if data_dir else []
        if subset:
            classes_file = prepared.with_name(f"{prepared.name}.txt")
            classes_file.write_text("".join(f"{name}\n" for name in experiment.subsets[subset]), encoding="utf-8")
            arguments.append(f"--classes_file={classes_file}")
        run_command("pipelines.prepare", *arguments)
    return prepared


def _initial_weights(experiment: Experiment, run: Run, seed: int, work_dir: Path) -> list[str]:
    """The flag of the run that `run` starts from.

    Raises:
      ValueError: that run was not trained.
    """
    if not run.init_from:
        return []
    directory = run_directory(work_dir, experiment.name, run.init_from, seed)
    if not (directory / "model.json").is_file():
        raise ValueError(
            f"runs={run.name}: starts from the network of {run.init_from}, seed {seed}; {directory} has none. Execute "
            f"runs={run.init_from} first"
        )
    return [f"--init_from={directory}"]


def _train(run_dir: Path, arguments: Sequence[str], report: Callable[[str], None]) -> None:
    report(f"training in {run_dir}")
    run_dir.mkdir(parents=True, exist_ok=True)
    started, cpu = time.monotonic(), _cpu_seconds()
    try:
        run_command("keras_alexnet.train", *arguments, f"--model_dir={run_dir}")
    finally:
        # Every attempt has a row: the time of a run that was interrupted is their sum.
        with open(run_dir / measurement.SECONDS_FILE, "a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - started:.1f},{_cpu_seconds() - cpu:.1f}\n")


def _cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _averaged(
    experiment: Experiment, run: Run, work_dir: Path, results_dir: Path, report: Callable[[str], None]
) -> Result | None:
    """The result of the averaged networks of all seeds of another run; None while one of them is missing."""
    results = {row.seed: row for row in read_results(results_dir, experiment.name) if row.run == run.average_of}
    missing = [str(seed) for seed in experiment.seeds if seed not in results]
    if missing:
        report(f"{experiment.name} {run.name}: waits for {run.average_of}, seed {', '.join(missing)}")
        return None
    members = [results[seed] for seed in experiment.seeds]
    models = []
    for member in members:
        same = [member, *_same_runs(experiment, results_dir, member.command, member.dataset)]
        directories = [run_directory(work_dir, *row.key) for row in same]
        trained = [directory for directory in directories if (directory / "model.json").is_file()]
        if not trained:
            raise ValueError(f"work_dir={work_dir}: the network of {member.run}, seed {member.seed}, is not in it")
        models.append(trained[0])
    report(f"evaluating the average of {len(members)} networks")
    return measurement.of_average(experiment, run, members, models, work_dir)
