"""The comparisons as a page, docs/comparison.md, as a table on the terminal, and as figures; from the rows alone."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_alexnet.experiments.comparison import PREFIX
from keras_alexnet.experiments.costs import Costs, read_costs
from keras_alexnet.experiments.published import CIFAR10, REMARKS, SURVEY_PARAMETERS, SURVEY_REMARKS, Published
from keras_alexnet.experiments.results import Result, curve_path, file_name, read_curve, read_results
from keras_alexnet.experiments.tables import error_difference, number_range, percent, provenance, save_figure
from pipelines.atomic import write_file

_HEADER = """\
# Networks under equal conditions

Written by `python -m keras_alexnet.experiments report` from the rows in `{directory}`; do not edit. The rows come from
`python -m keras_alexnet.compare`: all networks are trained with batch 128, momentum 0.9, the learning rate divided by
10 at a half and at three quarters of the epochs, random crops and horizontal flips, and the weight decay of their
authors. Networks without batch normalization do not train at the survey's learning rate of 0.1 and have their own.

Errors are top-1 errors after the last epoch, not the best one. "±" is the standard deviation over seeds. Networks that
take whole images have two different crops among ten, the image and its mirror image. The survey (a Japanese overview of
convolutional networks, 2017) trained 300 epochs, the authors as long or longer: with fewer epochs the errors here are
not a reproduction of theirs, and regularization such as cutout raises them. Times are not comparable with the survey's,
which used a GPU.

Times of requests are those of one image sent to the exported model in the same process, decoding a JPEG of 256 x 256
pixels included: the fastest of ten or more, and the processor time of all cores; [gRPC](benchmark.md#over-grpc) adds
less than two milliseconds. "Recipe only": not trained here; the tests train it for a step, export it and send it
requests; `configs/survey_cifar.flags` trains it as the survey did.
"""
_CIFAR10 = f"{PREFIX}cifar10"
_DATASETS = {"cifar10": "CIFAR-10", "imagenette": "Imagenette"}
# The data of the rows in docs/results.
_DATA = {
    "cifar10": "The images were given as JPEG files, which makes the errors slightly larger than those of the pixels.",
    "imagenette": "The photographs of the trained rows were prepared with 144 pixels (`--size=144`), and crops have "
    "128. The evaluation has half of the validation set (1,966), whose standard error is about one point. An epoch has "
    "73 steps, so that eight epochs are few updates.",
}
_RECIPE_ONLY, _REMARK = "recipe only", "remark"


@dataclass(frozen=True)
class Line:
    """A network of a comparison: `results` are empty if it was not trained, `costs` None if it was not measured."""

    network: str
    results: tuple[Result, ...]
    costs: Costs | None
    published: Published

    @property
    def error(self) -> float:
        """Mean ten-crop top-1 error; above every error if it was not trained."""
        return statistics.mean(row.ten_crop_top1_error for row in self.results) if self.results else 2.0

    @property
    def learning_rate(self) -> str:
        """The initial one, of the first training's command."""
        words = self.results[0].command.split()
        return next(word.partition("=")[2] for word in words if word.startswith("--learning_rate="))


def lines(results_dir: Path, name: str) -> list[Line]:
    """The networks of a comparison, by error; then those that were not trained.

    Args:
      results_dir: has the rows.
      name: of the comparison.
    """
    costs = read_costs(results_dir, name)
    results: dict[str, list[Result]] = {}
    for row in read_results(results_dir, name):
        results.setdefault(row.run, []).append(row)
    published = {file_name(network): network for network in CIFAR10} if name == _CIFAR10 else {}
    found = []
    for run in dict.fromkeys([*results, *costs, *published]):
        network = costs[run].network if run in costs else published.get(run, run)
        reported = CIFAR10.get(network, Published()) if published else Published()
        found.append(Line(network, tuple(results.get(run, ())), costs.get(run), reported))
    return sorted(found, key=lambda line: line.error)


def write_report(results_dir: Path) -> Path:
    """Writes comparison.md beside `results_dir`, and the figures of each comparison; returns the path of the page.

    Raises:
      ValueError: a results file is damaged.
    """
    page = results_dir.parent / "comparison.md"
    for name in comparisons(results_dir):
        write_figures(results_dir, name)
    write_file(page, report_text(results_dir))
    return page


def comparisons(results_dir: Path) -> list[str]:
    """The names of the comparisons that have rows."""
    return sorted(path.stem for path in results_dir.glob(f"{PREFIX}*.csv") if not path.stem.endswith("_costs"))


def report_text(results_dir: Path) -> str:
    """The text of comparison.md."""
    known = [PREFIX + dataset for dataset in _DATASETS]
    names = [*known, *(name for name in comparisons(results_dir) if name not in known)]
    sections = ["\n".join(_section(results_dir, name)) for name in names]
    return "\n".join(
        [_HEADER.format(directory=results_dir.name), *sections, *_survey_remarks(results_dir), *_survey_parameters()]
    )


def write_figures(results_dir: Path, name: str) -> bool:
    """Draws errors against costs, and learning curves; False without a trained network or without matplotlib."""
    trained = [line for line in lines(results_dir, name) if line.results]
    if not trained:
        return False
    try:
        import matplotlib  # noqa: F401 (an optional dependency: the numbers are written without it)
    except ModuleNotFoundError:
        print("no figures: pip install 'keras-alexnet[figures]'")
        return False
    from keras_alexnet import plots

    curves = {line.network: read_curve(curve_path(results_dir, *line.results[0].key)) for line in trained}
    save_figure(plots.comparison_curves_figure(curves), results_dir / f"{name}_curves.svg")
    shown = [(line.network, line.error, line.costs) for line in trained if line.costs]
    if shown:
        costs = {
            "trainable parameters": {network: float(row.parameters) for network, _, row in shown},
            "multiply-adds for a crop": {network: float(row.multiply_adds) for network, _, row in shown},
            "CPU seconds for an image, centre crop": {network: row.cpu_ms_center / 1000 for network, _, row in shown},
            "size of the export (MB)": {network: row.export_mb for network, _, row in shown},
        }
        errors = {network: error for network, error, _ in shown}
        save_figure(plots.comparison_figure(errors, costs), results_dir / f"{name}.svg")
    return True


def print_table(results_dir: Path, name: str) -> None:
    """Prints the networks of a comparison that were trained or measured."""
    from rich.console import Console
    from rich.table import Table

    # Cut off on a narrow terminal the numbers would be useless; wrapped they are only ugly.
    console = Console(width=max(150, Console().width))
    for heading, columns, rows in _tables([line for line in lines(results_dir, name) if line.results or line.costs]):
        table = Table(title=heading, title_justify="left")
        shown = [index for index, column in enumerate(columns) if column != _REMARK]
        for index in shown:
            table.add_column(columns[index], justify="right" if index else "left")
        for row in rows:
            table.add_row(*(row[index] for index in shown))
        console.print(table)


def _section(results_dir: Path, name: str) -> list[str]:
    dataset = name.removeprefix(PREFIX)
    text = [f"## {_DATASETS.get(dataset, dataset)}\n"]
    found = lines(results_dir, name)
    results = [row for line in found for row in line.results]
    if not results:
        text.append("No network was trained here.\n")
    elif dataset in _DATA:
        text.append(f"{_DATA[dataset]}\n")
    for heading, columns, rows in _tables(found):
        text += [f"### {heading}\n", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        text += [f"| {' | '.join(row)} |" for row in rows] + [""]
    text += _changes(found)
    if results:
        figures = ((f"{name}.svg", "Error against costs"), (f"{name}_curves.svg", "Learning curves"))
        text += [f"![{alt}]({results_dir.name}/{file})\n" for file, alt in figures]
        text += provenance(results)
    machines = sorted({line.costs.processor for line in found if line.costs})
    return [*text, f"Times were measured on {'; '.join(machines)}.\n"] if machines else text


def _tables(found: Sequence[Line]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Heading, columns and cells of the tables of errors and of costs."""
    columns = ["network", "epochs", "learning rate", "ten-crop error", "centre error", "training error", "CPU hours"]
    errors = ("Errors", [*columns, "survey", "authors", _REMARK], [_error_cells(line) for line in found])
    columns = ["network", "pixels", "parameters", "multiply-adds", "ms, centre", "ms, ten-crop"]
    columns += ["CPU ms, centre", "CPU ms, ten-crop", "export (MB)"]
    costs = [_cost_cells(line.network, line.costs) for line in found if line.costs]
    return [table for table in (errors, ("Costs", columns, costs)) if table[2]]


def _error_cells(line: Line) -> list[str]:
    rows, published = line.results, line.published
    own = ["", "", _RECIPE_ONLY, "", "", ""]
    if rows:
        own = [
            number_range([row.epochs for row in rows]) + (f" ({len(rows)} seeds)" if len(rows) > 1 else ""),
            line.learning_rate,
            percent([row.ten_crop_top1_error for row in rows]),
            percent([row.center_top1_error for row in rows]),
            percent([row.train_top1_error for row in rows]),
            f"{statistics.mean(row.cpu_hours for row in rows):.2f}",
        ]
    reported = ["" if error is None else f"{error:.1f} %" for error in (published.survey, published.authors)]
    return [line.network, *own, *reported, REMARKS.get(line.network, "")]


def _cost_cells(network: str, costs: Costs) -> list[str]:
    times = (costs.ms_center, costs.ms_ten_crop, costs.cpu_ms_center, costs.cpu_ms_ten_crop, costs.export_mb)
    numbers = (costs.image_size, costs.parameters, costs.multiply_adds)
    return [network, *(f"{number:,}" for number in numbers), *(f"{value:.1f}" for value in times)]


def _changes(found: Sequence[Line]) -> list[str]:
    """One sentence for each network with changes, compared with the same network without."""
    trained = {line.network: line.results for line in found if line.results}
    text = []
    for network, rows in trained.items():
        base = network.partition("+")[0]
        if base != network and base in trained:
            text.append(f"- {network} compared with {base}: {error_difference(trained[base], rows)}")
    return [*text, ""] if text else []


def _survey_remarks(results_dir: Path) -> list[str]:
    """What the survey concludes, and what the rows of CIFAR-10 say about it."""
    found = lines(results_dir, _CIFAR10)
    trained = {line.network: line.results for line in found if line.results}
    text = ["## The survey's remarks\n", "| the survey | shown by | here |", "|---|---|---|"]
    for remark, base, other in SURVEY_REMARKS:
        here = "not trained here"
        if base in trained and other in trained:
            hours = [statistics.mean(row.cpu_hours for row in trained[network]) for network in (base, other)]
            here = error_difference(trained[base], trained[other])
            here += f" {hours[1] / hours[0]:.1f} times the time." if hours[0] else ""
        text.append(f"| {remark} | {other} compared with {base} | {here} |")
    return [*text, ""]


def _survey_parameters() -> list[str]:
    lines = [
        "## The survey's numbers of parameters\n",
        "Its table of ImageNet networks mixes them with networks for CIFAR. In millions:\n",
        "| network | survey | right | the survey's number is |",
        "|---|---|---|---|",
    ]
    return [*lines, *(f"| {' | '.join(row)} |" for row in SURVEY_PARAMETERS), ""]
