"""What the benchmark prints and writes: tables, a CSV file and a figure."""

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from keras_alexnet.benchmark.timing import Times
from pipelines.atomic import atomic_path, write_file
from pipelines.cli.tables import print_table

COLUMNS = (
    "contender",
    "ms",
    "spread",
    "CPU ms",
    "CPU spread",
    "images/s",
    "images/CPU s",
    "GFLOP/CPU s",
    "of peak",
    "MB",
    "live MB",
    "ratio",
    "CPU ratio",
)


class Report:
    """Prints a table per measurement, and writes all of them to a directory.

    Times are medians; a spread is half of the distance between the quartiles, relative to the median. A ratio is the
    time of the first contender divided by the contender's: above 1 is faster than the first.

    Args:
      output_dir: where `write` creates benchmark.csv and benchmark.png; None for nowhere.
      peak: GFLOP per CPU second of the machine's fastest convolution; None if it was not measured.
    """

    def __init__(self, output_dir: str | None = None, peak: float | None = None):
        self._directory = Path(output_dir) if output_dir else None
        self._peak = peak
        self._tables: dict[str, list[dict[str, str]]] = {}

    def add(
        self,
        title: str,
        times: Mapping[str, Times],
        images: int | Mapping[str, int],
        flop: float | None = None,
        live: Mapping[str, int] | None = None,
    ) -> None:
        """Prints the times of contenders.

        Args:
          title: of the table.
          times: see `interleaved`; ratios are to the first, of the time per image.
          images: images per turn, of all contenders or of each.
          flop: floating-point operations per image, of contenders that compute the network.
          live: bytes that a contender must hold at once, in addition to what was there before its turn.
        """
        counts = images if isinstance(images, Mapping) else dict.fromkeys(times, images)
        first = next(iter(times))
        rows = []
        for name, of in times.items():
            cells = self._cells(of, times[first], counts[name], flop, counts[name] / counts[first])
            held = f"{live[name] / 1e6:.0f}" if live else ""
            rows.append({"contender": name, **cells, "live MB": held})
        self._tables[title] = rows
        table = Table(title=title, title_justify="left")
        used = [column for column in COLUMNS if any(row[column] for row in rows)]
        for column in used:
            table.add_column(column, justify="left" if column == "contender" else "right")
        for row in rows:
            table.add_row(*(row[column] for column in used))
        print_table(table)

    def _cells(self, times: Times, first: Times, images: int, flop: float | None, relative: float) -> dict[str, str]:
        clock, processor = float(np.median(times.clock)), float(np.median(times.processor))
        rate = images / processor * flop / 1e9 if flop else 0.0
        return {
            "ms": f"{clock * 1e3:.1f}",
            "spread": _spread(times.clock),
            "CPU ms": f"{processor * 1e3:.1f}",
            "CPU spread": _spread(times.processor),
            "images/s": f"{images / clock:.1f}",
            "images/CPU s": f"{images / processor:.1f}",
            "GFLOP/CPU s": f"{rate:.0f}" if flop else "",
            "of peak": f"{rate / self._peak:.0%}" if flop and self._peak else "",
            "MB": "" if times.memory is None else f"{times.memory / 1e6:.0f}",
            "ratio": f"{relative * np.median(first.clock) / clock:.2f}",
            "CPU ratio": f"{relative * np.median(first.processor) / processor:.2f}",
        }

    def write(self, header: str) -> list[Path]:
        """Writes the CSV file, and the figure if matplotlib is installed; returns their paths.

        Raises:
          OSError: the directory cannot be written.
        """
        if self._directory is None or not self._tables:
            return []
        path = self._directory / "benchmark.csv"
        write_tables(path, header, "measurement", COLUMNS, self._tables)
        return [path, *self._draw(header)]

    def _draw(self, header: str) -> list[Path]:
        if importlib.util.find_spec("matplotlib") is None:
            return []
        from keras_alexnet.plots.style import new_figure

        assert self._directory is not None
        heights = [len(rows) + 1 for rows in self._tables.values()]
        figure = new_figure(8, 0.28 * sum(heights) + 0.9 * len(heights) + 0.8)
        axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)
        for (title, rows), ax in zip(self._tables.items(), axes[:, 0], strict=True):
            bars = ax.barh([row["contender"] for row in rows], [float(row["images/CPU s"]) for row in rows])
            ax.bar_label(bars, [row["images/CPU s"] for row in rows], padding=3, fontsize=8)
            ax.invert_yaxis()
            ax.margins(x=0.12)
            ax.set_title(title, fontsize=9, loc="left")
            ax.set_xlabel("images per second of processor time")
            ax.spines[["top", "right"]].set_visible(False)
        figure.suptitle(header.splitlines()[0], fontsize=8)
        path = self._directory / "benchmark.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
        return [path]


def write_tables(
    path: Path, header: str, key: str, columns: Sequence[str], tables: Mapping[str, Sequence[Mapping[str, str]]]
) -> None:
    """Writes tables as one CSV file, and its directory if there is none.

    Args:
      path: of the file.
      header: lines about the machine; comments in the file.
      key: name of the first column, which holds the titles of the tables.
      columns: the others, which every row has.
      tables: title -> rows.

    Raises:
      OSError: the directory cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in header.splitlines())
    writer = csv.DictWriter(text, (key, *columns), lineterminator="\n")
    writer.writeheader()
    for title, rows in tables.items():
        writer.writerows({key: title, **row} for row in rows)
    write_file(path, text.getvalue())


def _spread(seconds: list[float]) -> str:
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return f"±{(high - low) / 2 / median:.0%}"
