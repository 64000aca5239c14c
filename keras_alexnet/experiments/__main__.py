"""Command: reproduces the claims of the paper on datasets that fit one machine.

    python -m keras_alexnet.experiments list
    python -m keras_alexnet.experiments run relu_tanh --dataset=prepared/cifar10 --work_dir=runs
    python -m keras_alexnet.experiments report

`run` trains and evaluates the runs of an experiment that have no result yet; the same command resumes it after an
interruption. `report` writes results.md and comparison.md (rows of keras_alexnet.compare) beside the directory of the
results, and their figures into it, from the results alone.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from keras_alexnet.experiments.definitions import EXPERIMENTS, find_experiment
from keras_alexnet.experiments.experiment import Experiment, parse_seeds
from pipelines.atomic import writable_directory
from pipelines.choices import DATASET_FORMS
from pipelines.cli import UsageError, define_path, run

_ACTIONS = ("list", "run", "report")
_CHECKOUT = Path(__file__).parents[2]


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_string("dataset", None, f"run: {DATASET_FORMS}; the experiment's TFDS dataset by default")
    define_path("data_dir", None, "run: where TFDS keeps its datasets; ~/tensorflow_datasets if not set")
    define_path("work_dir", "runs", "run: directory for prepared datasets and run directories")
    define_path("results_dir", None, "directory of the results; docs/results of a checkout, else results")
    flags.DEFINE_list("runs", [], "run: names of the runs to execute; all by default")
    flags.DEFINE_list("seeds", [], "run: the experiment's by default")
    flags.DEFINE_multi_string(
        "train_flag",
        [],
        "run: additional flag of keras_alexnet.train, such as "
        "--train_flag=--mixed_precision=bfloat16; may be repeated; recorded in the results",
    )


def default_results_dir() -> Path:
    """docs/results of a checkout, else results in the current directory."""
    docs = _CHECKOUT / "docs"
    return docs / "results" if docs.is_dir() and (_CHECKOUT / "pyproject.toml").is_file() else Path("results")


def print_experiments(results_dir: Path) -> None:
    """Prints each experiment with its claim, its runs and how many results it has."""
    from keras_alexnet.experiments.results import read_results

    for experiment in EXPERIMENTS:
        results = len(read_results(results_dir, experiment.name))
        expected = sum(1 if run.average_of else len(experiment.seeds) for run in experiment.runs)
        print(f"{experiment.name}: {experiment.title}")
        print(f"  {experiment.claim}")
        print(f"  dataset {experiment.dataset}; runs {', '.join(run.name for run in experiment.runs)}")
        print(
            f"  seeds {', '.join(map(str, experiment.seeds))}; {results} of {expected} results; {experiment.budget}\n"
        )


def main(argv: Sequence[str]) -> int:
    """Lists, runs or reports; returns 143 if a run was interrupted."""
    options = flags.FLAGS
    action = argv[1] if len(argv) > 1 else ""
    results_dir = Path(options.results_dir) if options.results_dir else default_results_dir()
    if action not in _ACTIONS or len(argv) != (3 if action == "run" else 2):
        raise UsageError(f"expected list, run NAME or report; found {' '.join(argv[1:]) or 'nothing'}")
    if action == "list":
        print_experiments(results_dir)
    elif action == "report":
        if not results_dir.is_dir():
            raise UsageError(f"results_dir={results_dir}: expected a directory that `run` or compare has written")
        from keras_alexnet.experiments import comparison_report, report

        writable_directory("results_dir", results_dir)
        print(f"wrote {report.write_report(results_dir)} and {comparison_report.write_report(results_dir)}")
    else:
        return _run(find_experiment(argv[2]), results_dir, options)
    return 0


def _run(experiment: Experiment, results_dir: Path, options: flags.FlagValues) -> int:
    from keras_alexnet.experiments.commands import RunInterrupted
    from keras_alexnet.experiments.runner import check_prepared_size, run_experiment

    dataset = options.dataset or experiment.dataset
    check_prepared_size(experiment, dataset)
    seeds = parse_seeds(options.seeds)
    try:
        run_experiment(
            experiment,
            dataset,
            Path(options.work_dir),
            results_dir,
            data_dir=options.data_dir,
            runs=options.runs,
            seeds=seeds,
            flags=options.train_flag,
        )
    except RunInterrupted:
        print("interrupted; run the same command again to resume")
        return 143
    return 0


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags, takes_arguments=True, needs_tensorflow=False)


if __name__ == "__main__":
    command()
