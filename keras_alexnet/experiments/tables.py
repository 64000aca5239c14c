"""What the reports share: numbers as text, the difference of two errors, where the rows come from, figure files."""

import importlib.util
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_alexnet.experiments.results import Result
from pipelines.cli.regular_files import MAX_TEXT_BYTES, read_file

_WRITTEN_BY = b"Written by `python -m keras_alexnet.experiments report`"
# One number, or what stands for it: "26.4 % ± 0.6", "11 (27.6 %)", "not run here".
_NUMBER = re.compile(r"not (run here|reached)|[-+]?[\d.,]+( %)?( ± [\d.]+)?( \([\w. %]{,10}\))?")


def error_difference(baseline: Sequence[Result], rows: Sequence[Result], claimed: str = "") -> str:
    """Sentences: the difference of the mean ten-crop errors, whether the spread resolves it, and what was claimed.

    Args:
      baseline, rows: results of two runs, one or more of each.
      claimed: "higher" or "lower" if the source says that `rows` have a higher or a lower error; else empty.
    """
    errors = [[100 * row.ten_crop_top1_error for row in group] for group in (baseline, rows)]
    difference = statistics.mean(errors[1]) - statistics.mean(errors[0])
    noise = _uncertainty(errors, min(row.images for row in (*baseline, *rows)))
    text = f"{signed(difference)} points of ten-crop error; two standard errors are {2 * noise:.1f} points"
    if abs(difference) < 2 * noise:
        return f"{text}: not resolved here."
    found = "higher" if difference > 0 else "lower"
    return f"{text}." + (f" The paper claims a {claimed} error{' too' * (claimed == found)}." if claimed else "")


def signed(points: float) -> str:
    """A difference with its sign and one decimal; 0.0 has none."""
    text = f"{points:+.1f}"
    return "0.0" if float(text) == 0 else text


def _uncertainty(errors: Sequence[Sequence[float]], images: int) -> float:
    """The standard error of the difference of two means, in points.

    The larger of the spread over seeds and the binomial error of the evaluation's images, for each group. Runs of one
    group are evaluated on the same images, so more seeds do not reduce the second.
    """
    variance = 0.0
    for group in errors:
        p = statistics.mean(group) / 100
        binomial = 1e4 * p * (1 - p) / images
        spread = statistics.variance(group) / len(group) if len(group) > 1 else 0.0
        variance += max(binomial, spread)
    return math.sqrt(variance)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown. Columns of numbers are aligned at the right, where the pages' style sheet breaks no line."""
    cells = [[row[index] for row in rows if row[index]] for index in range(len(columns))]
    rules = ["---:" if all(_NUMBER.fullmatch(cell) for cell in column) and column else "---" for column in cells]
    return [_row(columns), f"|{'|'.join(rules)}|", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def provenance(results: Sequence[Result]) -> list[str]:
    """Lines of Markdown: time, date, processor and command of each result, folded."""
    columns = ["run", "seed", "wall hours", "CPU hours", "best epoch (centre error)", "date, revision, processor"]
    rows = [
        (
            row.run,
            str(row.seed),
            f"{row.hours:.2f}",
            f"{row.cpu_hours:.2f}",
            f"{row.best_epoch} ({percent([row.best_center_top1_error])})",
            f"{row.date}, {row.revision}, {row.processor}",
            f"`{row.command}`",
        )
        for row in results
    ]
    images = number_range([row.images for row in results])
    return [
        f"Evaluated on {images} images.\n",
        '<details markdown="1"><summary>Runs</summary>\n',
        *markdown_table([*columns, "command"], rows),
        "\n</details>\n",
    ]


def number_range(numbers: Sequence[int]) -> str:
    """The least and the largest number, or the number if they are equal."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def percent(values: Sequence[float]) -> str:
    """The mean of fractions in percent, with the standard deviation of several; empty if there are none."""
    if not values:
        return ""
    text = f"{100 * statistics.mean(values):.1f} %"
    return f"{text} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else text


def page_path(results_dir: Path, name: str) -> Path:
    """Where a page of the report is written: beside `results_dir`, in place of an earlier one only.

    Raises:
      ValueError: there is a file that no report has written.
    """
    page = results_dir.parent / name
    if page.exists() and _WRITTEN_BY not in read_file(page, MAX_TEXT_BYTES):
        raise ValueError(f"results_dir={results_dir}: {page} was not written by a report, and is not replaced")
    return page


def can_draw() -> bool:
    """Whether matplotlib, an optional dependency, is installed; prints a line if it is not."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no figures: pip install 'keras-alexnet[figures]'")
        return False
    return True


def save_figure(figure: Any, path: Path) -> None:
    """Writes an SVG file that changes only with the figure: without a date, and with constant identifiers."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})
