"""What the reports share: numbers as text, the difference of two errors, where the rows come from, figure files."""

import hashlib
import importlib.util
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_alexnet.experiments.results import Result
from pipelines.cli.regular_files import MAX_TEXT_BYTES, read_file, read_text

_WRITTEN_BY = b"Written by `python -m keras_alexnet.experiments report`"
# One number, or what stands for it: "26.4 % ± 0.6", "11 (27.6 %)", "not run here".
_NUMBER = re.compile(r"not (run here|reached)|[-+]?[\d.,]+( %)?( ± [\d.]+)?( \([\w. %]{,10}\))?")

# Quantiles 0.975 of the normal distribution, and of Student's t with 1 to 10 degrees of freedom.
_NORMAL = 1.960
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def error_difference(baseline: Sequence[Result], rows: Sequence[Result], claimed: str = "") -> str:
    """Sentences: the difference of the mean ten-crop errors, whether it is resolved, and what was claimed.

    Two 95 % intervals of the difference are stated: over other seeds on the same images (Student's t with pooled
    degrees of freedom), where both groups have several seeds, and over other samples of as many images. The second
    treats the groups as evaluated on different images, and is an upper bound.

    Args:
      baseline, rows: results of two runs, one or more of each.
      claimed: "higher" or "lower" if the source says that `rows` have a higher or a lower error; else empty.
    """
    errors = [[100 * row.ten_crop_top1_error for row in group] for group in (baseline, rows)]
    difference = statistics.mean(errors[1]) - statistics.mean(errors[0])
    images = min(row.images for row in (*baseline, *rows))
    of_images = _NORMAL * math.sqrt(sum(_binomial_variance(statistics.mean(group), images) for group in errors))
    of_seeds, stated = 0.0, f"±{of_images:.1f} for other images"
    if min(map(len, errors)) > 1:
        t = _STUDENT[min(sum(map(len, errors)) - 2, len(_STUDENT)) - 1]
        of_seeds = t * math.sqrt(sum(statistics.variance(group) / len(group) for group in errors))
        stated = f"±{of_seeds:.1f} for other seeds, {stated}"
    text = f"{signed(difference)} points of ten-crop error (95 % interval: {stated})"
    if abs(difference) < (of_seeds or of_images):
        return f"{text}: not resolved here."
    text += "." if abs(difference) >= of_images else ": resolved for these images only."
    found = "higher" if difference > 0 else "lower"
    return text + (f" The paper claims a {claimed} error{' too' * (claimed == found)}." if claimed else "")


def signed(points: float) -> str:
    """A difference with its sign and one decimal; 0.0 has none."""
    text = f"{points:+.1f}"
    return "0.0" if float(text) == 0 else text


def _binomial_variance(percentage: float, images: int) -> float:
    """The variance of an error rate that was counted on so many images, in points squared."""
    return percentage * (100 - percentage) / images


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown. Columns of numbers are aligned at the right, where the pages' style sheet breaks no line."""
    cells = [[row[index] for row in rows if row[index]] for index in range(len(columns))]
    rules = ["---:" if all(_NUMBER.fullmatch(cell) for cell in column) and column else "---" for column in cells]
    return [_row(columns), f"|{'|'.join(rules)}|", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def provenance(results: Sequence[Result]) -> list[str]:
    """Lines of Markdown: time, date and processor of each result, and the commands, folded."""
    columns = ["run", "seed", "wall hours", "CPU hours", "best epoch (centre error)"]
    columns.append("date, revision, processor and its instructions")
    rows = [
        (
            row.run,
            str(row.seed),
            f"{row.hours:.2f}",
            f"{row.cpu_hours:.2f}",
            f"{row.best_epoch} ({percent([row.best_center_top1_error])})",
            f"{row.date}, {row.revision}, {row.processor}",
        )
        for row in results
    ]
    images = number_range([row.images for row in results])
    datasets = ", ".join(sorted({row.dataset for row in results} - {""}))
    return [
        f"Evaluated on {images} images{f' of {datasets}' if datasets else ''}.\n",
        '<details markdown="1"><summary>Runs</summary>\n',
        *markdown_table(columns, rows),
        "",
        *_commands(results),
        "\n</details>\n",
    ]


def _commands(results: Sequence[Result]) -> list[str]:
    """Lines of Markdown: each command, once for all seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for row in results:
        command = re.sub(rf"--seed={row.seed}\b", "--seed=SEED", row.command)
        seeds.setdefault((row.run, command), []).append(row.seed)
    return [
        f"- {run}, seed{'s' * (len(numbers) > 1)} {', '.join(map(str, sorted(numbers)))}: `{command}`"
        for (run, command), numbers in seeds.items()
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


def figure_sources(results_dir: Path, name: str) -> list[Path]:
    """The files that the figures of an experiment or comparison are drawn from."""
    tables = [results_dir / f"{name}.csv", results_dir / f"{name}_costs.csv"]
    return [*filter(Path.exists, tables), *sorted((results_dir / "curves").glob(f"{name}-*.csv"))]


def figure_description(sources: Sequence[Path]) -> str:
    """What a figure's file says about its sources, which a test compares with them."""
    content = hashlib.sha256()
    for path in sources:
        content.update(f"{path.name}\n{read_text(path)}".encode())
    return f"Drawn from files with SHA-256 {content.hexdigest()}"


def save_figure(figure: Any, path: Path, sources: Sequence[Path]) -> None:
    """Writes an SVG file that changes only with the figure and its sources: no date, and constant identifiers."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None, "Description": figure_description(sources)})
