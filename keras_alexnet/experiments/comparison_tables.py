"""The tables of a comparison, from its rows and from what was published: for the page and for the terminal."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_alexnet.experiments.comparison import PREFIX
from keras_alexnet.experiments.costs import Costs, read_costs
from keras_alexnet.experiments.published import APPLICATIONS, PUBLISHED, REMARKS, Published
from keras_alexnet.experiments.results import Result, file_name, read_results
from keras_alexnet.experiments.tables import number_range, percent
from keras_alexnet.networks import find, names
from keras_alexnet.variants import VARIANTS

# Side of the largest images of the networks for CIFAR, in pixels.
_CIFAR_SIZE = 32
_NOTHING = Published()
REMARK = "remark"


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
        """The initial one, of the first training's command: of a repeated flag the last one counts. "" without one."""
        words = reversed(self.results[0].command.split())
        return next((word.partition("=")[2] for word in words if word.startswith("--learning_rate=")), "")


@dataclass(frozen=True)
class Table:
    """Heading, names of the columns, and rows of cells."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


def listed_networks(dataset: str) -> list[str]:
    """The networks with a row whether or not they were trained: the registered and the published ones for a dataset.

    Those of keras.applications are the survey's.

    Args:
      dataset: in file names; without published errors nothing is listed.
    """
    published = PUBLISHED.get(dataset, {})
    is_cifar = dataset.startswith("cifar")
    found = []
    for name in names() if published else ():
        if (find(name).image_size <= _CIFAR_SIZE) == is_cifar and (
            not name.startswith(APPLICATIONS) or name in published
        ):
            found += [name, *(changed for changed in published if changed.startswith(f"{name}+"))]
    return found


def lines(results_dir: Path, name: str) -> list[Line]:
    """The networks of a comparison, by error; then those that were not trained, by family.

    Args:
      results_dir: has the rows.
      name: of the comparison.
    """
    dataset = name.removeprefix(PREFIX)
    costs = read_costs(results_dir, name)
    results: dict[str, list[Result]] = {}
    for row in read_results(results_dir, name):
        results.setdefault(row.run, []).append(row)
    listed = {file_name(network): network for network in listed_networks(dataset)}
    found = []
    for run in dict.fromkeys([*results, *listed, *costs]):
        network = costs[run].network if run in costs else listed.get(run, run)
        published = PUBLISHED.get(dataset, {}).get(network, _NOTHING)
        found.append(Line(network, tuple(results.get(run, ())), costs.get(run), published))
    return sorted(found, key=lambda line: line.error)


def error_table(found: Sequence[Line], of: str = "") -> Table:
    """The errors of the networks that were trained.

    Args:
      found: the networks; others are left out.
      of: the dataset of the published errors, if it is another one.
    """
    trained = [line for line in found if line.results]
    columns = ["network", "epochs", "learning rate", "ten-crop error", "centre error", "training error", "CPU hours"]
    return _with_published(Table("Errors", columns, [_own_cells(line) for line in trained]), trained, of)


def recipe_table(found: Sequence[Line], of: str = "") -> Table:
    """The published errors of the networks that were not trained; arguments as for `error_table`."""
    untrained = [line for line in found if not line.results]
    rows = [[line.network, "recipe only"] for line in untrained]
    return _with_published(Table("Networks that were not trained", ["network", "here"], rows), untrained, of)


def cost_table(found: Sequence[Line]) -> Table:
    """The costs of the networks that were measured."""
    columns = ["network", "pixels", "parameters", "multiply-adds", "ms, centre", "ms, ten-crop"]
    columns += ["CPU ms, centre", "CPU ms, ten-crop", "export (MB)"]
    return Table("Costs", columns, [_cost_cells(line.network, line.costs) for line in found if line.costs])


def _with_published(table: Table, found: Sequence[Line], of: str) -> Table:
    """`table` with a column for each kind of published number that one of its networks has, and the remarks."""
    suffix = f", {of}" if of else ""
    headings = {"survey_hours": "survey, hours", "survey": f"survey{suffix}", "authors": f"authors{suffix}"}
    shown = [name for name in headings if any(getattr(line.published, name) is not None for line in found)]
    rows = []
    for line, own in zip(found, table.rows, strict=True):
        cells = [_published(line, name) for name in shown]
        rows.append([*own, *cells, REMARKS.get(line.network, _summary(line.network))])
    return Table(table.heading, [*table.columns, *(headings[name] for name in shown), REMARK], rows)


def _published(line: Line, name: str) -> str:
    """A number as it was published, with one or two decimals."""
    value = getattr(line.published, name)
    if value is None:
        return ""
    return str(value) if name == "survey_hours" else f"{value} %"


def _summary(network: str) -> str:
    """What distinguishes an AlexNet from the paper's; empty for other networks."""
    return VARIANTS[network].summary if network in VARIANTS else ""


def _own_cells(line: Line) -> list[str]:
    rows = line.results
    return [
        line.network,
        number_range([row.epochs for row in rows]) + (f" ({len(rows)} seeds)" if len(rows) > 1 else ""),
        line.learning_rate,
        percent([row.ten_crop_top1_error for row in rows]),
        percent([row.center_top1_error for row in rows]),
        percent([row.train_top1_error for row in rows]),
        f"{statistics.mean(row.cpu_hours for row in rows):.2f}",
    ]


def _cost_cells(network: str, costs: Costs) -> list[str]:
    times = (costs.ms_center, costs.ms_ten_crop, costs.cpu_ms_center, costs.cpu_ms_ten_crop, costs.export_mb)
    numbers = (costs.image_size, costs.parameters, costs.multiply_adds)
    return [network, *(f"{number:,}" for number in numbers), *(f"{value:.1f}" for value in times)]
