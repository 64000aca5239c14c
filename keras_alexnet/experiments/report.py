"""The report: docs/results.md and its figures, from the result files and nothing else."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from keras_alexnet.experiments.definitions import EXPERIMENTS
from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.results import Result, curve_path, read_curve, read_remarks, read_results
from keras_alexnet.experiments.tables import (
    can_draw,
    error_difference,
    figure_sources,
    markdown_table,
    number_range,
    page_path,
    percent,
    provenance,
    save_figure,
    signed,
)
from pipelines.atomic import write_file

_HEADER = """\
# Results

Written by `python -m keras_alexnet.experiments report` from the rows in `{directory}`; do not edit. Every number comes
from a run with the command shown. Errors are top-1 errors after the last epoch, not the best one, in float32; that of
the best epoch was measured during training, in the precision of the training. In tables "±" is the
standard deviation over seeds. A difference has two intervals: for other seeds, evaluated on the same images, and for
another sample of as many images, which is an upper bound. `python -m keras_alexnet.experiments run NAME
--results_dir=DIR` repeats an experiment on your machine; --train_flag adds what the command of a row has beyond it.
"""
_NOT_RUN = "Not run here.\n"


def write_report(results_dir: Path) -> Path:
    """Writes results.md beside `results_dir`, and with matplotlib the learning curves of each experiment.

    Returns:
      The path of results.md.

    Raises:
      ValueError: a results file is damaged, a curve is missing, or results.md is a file of another kind.
    """
    report = page_path(results_dir, "results.md")
    for experiment in EXPERIMENTS if can_draw() else ():
        results = read_results(results_dir, experiment.name)
        if results:
            _write_figure(results_dir, experiment, results)
    write_file(report, report_text(results_dir))
    return report


def report_text(results_dir: Path) -> str:
    """The text of results.md."""
    sections = [_HEADER.format(directory=results_dir.name)]
    for experiment in EXPERIMENTS:
        results = read_results(results_dir, experiment.name)
        remarks = read_remarks(results_dir, experiment.name, results)
        sections.append("\n".join(_section(experiment, results, remarks, results_dir.name)))
    return "\n".join(sections)


def figure_name(experiment: Experiment) -> str:
    """File name of the figure of an experiment, in the directory of its results."""
    return f"{experiment.name}.svg"


def _section(experiment: Experiment, results: Sequence[Result], remarks: Sequence[str], directory: str) -> list[str]:
    lines = [f"## {experiment.title}\n", f"{experiment.claim}\n"]
    if not results:
        return [*lines, _NOT_RUN]
    if experiment.remarks or remarks:
        lines.append(f"{' '.join(filter(None, [experiment.remarks, *remarks]))}\n")
    lines += _table(experiment, results)
    lines += ["", *_verdicts(experiment, results)]
    lines.append(f"![Learning curves]({directory}/{figure_name(experiment)})\n")
    lines += provenance(results)
    return lines


def _table(experiment: Experiment, results: Sequence[Result]) -> list[str]:
    timed = experiment.measure == "epochs_to_target"
    measure = [f"epochs to {100 * experiment.target:.0f} % training error"] if timed else []
    nine = ["nine-crop error"] if any(row.nine_crop_top1_error is not None for row in results) else []
    errors = ["ten-crop error", "centre error", *nine, "training error"]
    columns = ["run", "seeds", "epochs", *measure, *errors, "published"]
    table = []
    for run in experiment.runs:
        rows = _of(results, run)
        if not rows:
            table.append([run.title, "not run here", *[""] * (len(columns) - 3), run.published])
            continue
        cells = [run.title, str(len(rows)), number_range([row.epochs for row in rows])]
        if timed:
            reached = [row.epochs_to_target for row in rows if row.epochs_to_target is not None]
            missed = f" ({len(rows) - len(reached)} not)" if len(rows) > len(reached) else ""
            spread = f" ± {statistics.stdev(reached):.1f}" if len(reached) > 1 else ""
            cells.append(f"{statistics.mean(reached):.1f}{spread}{missed}" if reached else "not reached")
        nine_errors = [row.nine_crop_top1_error for row in rows if row.nine_crop_top1_error is not None]
        cells += [
            percent([row.ten_crop_top1_error for row in rows]),
            percent([row.center_top1_error for row in rows]),
            *([percent(nine_errors)] if nine else []),
            percent([row.train_top1_error for row in rows]),
            run.published,
        ]
        table.append(cells)
    return markdown_table(columns, table)


def _verdicts(experiment: Experiment, results: Sequence[Result]) -> list[str]:
    """One sentence for each run, compared with its baseline: the difference, and whether the spread resolves it."""
    lines = []
    for run in experiment.runs[1:]:
        other = experiment.run(run.baseline or experiment.runs[0].name)
        rows, baseline = _of(results, run), _of(results, other)
        # Errors on other classes cannot be compared.
        if rows and baseline and run.subset == other.subset:
            against = f', against "{other.title}"' if run.baseline else ""
            lines.append(f"- {run.title}{against}: {_verdict(experiment, other, baseline, rows, run.claimed)}")
    averages = {run.name for run in experiment.runs if run.average_of}
    crops = [100 * (row.ten_crop_top1_error - row.center_top1_error) for row in results if row.run not in averages]
    lines.append(f"- Ten crops instead of the centre crop: {signed(statistics.mean(crops))} points, mean of all runs.")
    return [*lines, ""]


def _verdict(
    experiment: Experiment, other: Run, baseline: Sequence[Result], rows: Sequence[Result], claimed: str
) -> str:
    if experiment.measure == "epochs_to_target":
        epochs = [[row.epochs_to_target for row in group if row.epochs_to_target] for group in (baseline, rows)]
        if not epochs[0]:
            return f"{other.title} did not reach {100 * experiment.target:.0f} % training error."
        if not epochs[1]:
            trained = min(row.epochs for row in rows)
            times = trained / statistics.mean(epochs[0])
            return (
                f"{100 * experiment.target:.0f} % training error was not reached in {trained} epochs, {times:.1f} "
                f"times as many as {other.title} needs."
            )
        ratio = statistics.mean(epochs[1]) / statistics.mean(epochs[0])
        some = f" ({len(epochs[1])} of {len(rows)} seeds reached it)" if len(epochs[1]) < len(rows) else ""
        return f"{ratio:.1f} times as many epochs as {other.title}{some}."
    text = error_difference(baseline, rows, claimed)
    if experiment.measure == "overfitting":
        text += (
            f" The centre error is {_overfitting(rows)} points above the training error; with "
            f"{other.title} {_overfitting(baseline)}."
        )
    return text


def _overfitting(rows: Sequence[Result]) -> str:
    """How far the errors are above those on the training images, in points."""
    return f"{100 * statistics.mean(row.center_top1_error - row.train_top1_error for row in rows):.1f}"


def _write_figure(results_dir: Path, experiment: Experiment, results: Sequence[Result]) -> None:
    from keras_alexnet import plots

    curves = {}
    for run in experiment.runs:
        if not run.average_of and (rows := _of(results, run)):
            curves[run.title] = [read_curve(curve_path(results_dir, *row.key)) for row in rows]
    if experiment.measure == "epochs_to_target":
        figure = plots.training_error_figure(curves, experiment.target, experiment.title)
    else:
        figure = plots.learning_curves_figure(curves, experiment.title)
    save_figure(figure, results_dir / figure_name(experiment), figure_sources(results_dir, experiment.name))


def _of(results: Sequence[Result], run: Run) -> list[Result]:
    return sorted((row for row in results if row.run == run.name), key=lambda row: row.seed)
