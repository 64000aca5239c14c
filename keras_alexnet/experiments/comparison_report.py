"""The comparisons as a page, docs/comparison.md, as a table on the terminal, and as figures; from the rows alone."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_alexnet.experiments.comparison import PREFIX
from keras_alexnet.experiments.comparison_tables import (
    REMARK,
    Line,
    Table,
    cost_table,
    error_table,
    lines,
    recipe_table,
)
from keras_alexnet.experiments.published import (
    SURVEY_CURVE_REMARKS,
    SURVEY_IMAGENET,
    SURVEY_OTHER_REMARKS,
    SURVEY_REMARKS,
)
from keras_alexnet.experiments.results import curve_path, read_curve, read_remarks
from keras_alexnet.experiments.tables import (
    can_draw,
    error_difference,
    figure_sources,
    markdown_table,
    page_path,
    provenance,
    save_figure,
)
from pipelines.atomic import write_file

_HEADER = """\
# Networks under equal conditions

Written by `python -m keras_alexnet.experiments report` from the rows in `{directory}`; do not edit. The rows come from
`python -m keras_alexnet.compare`: all networks are trained with batch 128, momentum 0.9, the learning rate divided by
10 at a half and at three quarters of the epochs, random crops and horizontal flips, and the weight decay of their
authors. Networks without batch normalization do not train at the survey's learning rate of 0.1: they start at 0.01,
cuda-convnet's at 0.001.

Errors are top-1 errors after the last epoch, not the best one. "±" is the standard deviation over seeds. Networks that
take whole images have two different crops among ten, the image and its mirror image. The survey (a Japanese overview of
convolutional networks, 2017) trained 300 epochs, the authors as long or longer: with fewer epochs the errors here are
not a reproduction of theirs, and regularization such as cutout raises them. The survey's hours are those of 300 epochs
on one GPU (Quadro P5000), ours those of all processor cores: only their ratios can be compared.

Times of requests are those of one image sent to the exported model in the same process, decoding a JPEG of 256 x 256
pixels included: the wall-clock time of the fastest of ten or more requests, and the median processor time of all cores.
[gRPC](benchmark.md#over-grpc) adds less than two milliseconds.
"""
_RECIPE_ONLY = '"Recipe only": not trained here.'
_RECIPE = (
    "The tests train the network at a small size for a step, export it and send it requests; `configs/{flagfile}` "
    "trains it as the survey did."
)
_CIFAR10 = f"{PREFIX}cifar10"


@dataclass(frozen=True)
class _Dataset:
    """Title of a dataset; flagfile of the survey; `published_of` if the published errors are of another dataset."""

    title: str
    flagfile: str = ""
    published_of: str = ""


_DATASETS = {
    "cifar10": _Dataset("CIFAR-10", "survey_cifar.flags"),
    "cifar100": _Dataset("CIFAR-100", "survey_cifar.flags"),
    "imagenette": _Dataset("Imagenette", "survey_imagenet.flags", "ImageNet"),
    "imagenet2012": _Dataset("ImageNet", "survey_imagenet.flags"),
}
# These have a section without rows as well.
_SECTIONS = ("cifar10", "cifar100", "imagenette")
_ON_IMAGENET = (
    "The published errors are those of 1000 classes of ImageNet, the authors' with one crop unless the remark says "
    "otherwise: they rank the networks, and are not comparable with errors on ten classes."
)


def write_report(results_dir: Path) -> Path:
    """Writes comparison.md beside `results_dir`, and the figures of each comparison; returns the path of the page.

    Raises:
      ValueError: a results file is damaged, or comparison.md is a file of another kind.
    """
    page = page_path(results_dir, "comparison.md")
    for name in comparisons(results_dir):
        write_figures(results_dir, name)
    write_file(page, report_text(results_dir))
    return page


def comparisons(results_dir: Path) -> list[str]:
    """The names of the comparisons that have rows, of trainings or of costs."""
    return sorted({path.stem.removesuffix("_costs") for path in results_dir.glob(f"{PREFIX}*.csv")})


def report_text(results_dir: Path) -> str:
    """The text of comparison.md."""
    known = [PREFIX + dataset for dataset in _SECTIONS]
    names = [*known, *(name for name in comparisons(results_dir) if name not in known)]
    sections = ["\n".join(_section(results_dir, name)) for name in names]
    return "\n".join(
        [_HEADER.format(directory=results_dir.name), *sections, *_survey_remarks(results_dir), *_survey_imagenet()]
    )


def write_figures(results_dir: Path, name: str) -> bool:
    """Draws errors against costs, and learning curves; False without a trained network or without matplotlib."""
    trained = [line for line in lines(results_dir, name) if line.results]
    if not trained:
        return False
    if not can_draw():
        return False
    from keras_alexnet import plots

    sources = figure_sources(results_dir, name)
    curves = {line.network: read_curve(curve_path(results_dir, *line.results[0].key)) for line in trained}
    save_figure(plots.comparison_curves_figure(curves), results_dir / f"{name}_curves.svg", sources)
    shown = [(line.network, line.error, line.costs) for line in trained if line.costs]
    if shown:
        costs = {
            "trainable parameters": {network: float(row.parameters) for network, _, row in shown},
            "multiply-adds for a crop": {network: float(row.multiply_adds) for network, _, row in shown},
            "CPU seconds for an image, centre crop": {network: row.cpu_ms_center / 1000 for network, _, row in shown},
            "size of the export (MB)": {network: row.export_mb for network, _, row in shown},
        }
        errors = {network: error for network, error, _ in shown}
        save_figure(plots.comparison_figure(errors, costs), results_dir / f"{name}.svg", sources)
    return True


def print_table(results_dir: Path, name: str) -> None:
    """Prints the networks of a comparison that were trained or measured."""
    from rich.console import Console
    from rich.table import Table

    # A narrow terminal must wrap the table, not cut off numbers.
    console = Console(width=max(150, Console().width))
    found = [line for line in lines(results_dir, name) if line.results or line.costs]
    of = _dataset(name).published_of
    for part in (error_table(found, of), recipe_table(found, of), cost_table(found)):
        if not part.rows:
            continue
        table = Table(title=part.heading, title_justify="left")
        shown = [index for index, column in enumerate(part.columns) if column != REMARK]
        for index in shown:
            table.add_column(part.columns[index], justify="right" if index else "left", overflow="fold")
        for row in part.rows:
            table.add_row(*(row[index] for index in shown))
        console.print(table)
        remarks = part.columns.index(REMARK) if REMARK in part.columns else None
        for row in part.rows:
            if remarks is not None and row[remarks]:
                print(f"{row[0]}: {row[remarks]}")


def _dataset(name: str) -> _Dataset:
    dataset = name.removeprefix(PREFIX)
    return _DATASETS.get(dataset, _Dataset(dataset))


def _section(results_dir: Path, name: str) -> list[str]:
    dataset = _dataset(name)
    text = [f"## {dataset.title}\n"]
    found = lines(results_dir, name)
    results = [row for line in found for row in line.results]
    if not results:
        text.append("No network was trained here.\n")
    remarks = read_remarks(results_dir, name, results)
    text += [f"{' '.join(remarks)}\n"] if remarks else []
    text += _markdown(error_table(found, dataset.published_of))
    text += _recipes(recipe_table(found, dataset.published_of), dataset)
    text += _markdown(cost_table(found))
    text += _changes(found)
    if results:
        figures = ((f"{name}.svg", "Error against costs"), (f"{name}_curves.svg", "Learning curves"))
        text += [f"![{alt}]({results_dir.name}/{file})\n" for file, alt in figures]
        text += provenance(results)
    machines = sorted({line.costs.processor for line in found if line.costs})
    return [*text, f"Times were measured on {'; '.join(machines)}.\n"] if machines else text


def _recipes(table: Table, dataset: _Dataset) -> list[str]:
    """The networks that were not trained, folded, and what that means."""
    if not table.rows:
        return []
    text = [_RECIPE_ONLY]
    text += [_RECIPE.format(flagfile=dataset.flagfile)] if dataset.flagfile else []
    text += [_ON_IMAGENET] if dataset.published_of else []
    summary = f'<details markdown="1"><summary>{len(table.rows)} networks</summary>\n'
    heading, *rows = _markdown(table)
    return [heading, f"{' '.join(text)}\n", summary, *rows, "</details>\n"]


def _markdown(table: Table) -> list[str]:
    """Heading and lines of a table; nothing without rows."""
    if not table.rows:
        return []
    return [f"### {table.heading}\n", *markdown_table(table.columns, table.rows), ""]


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
    rows: list[Sequence[str]] = []
    for remark, base, other in SURVEY_REMARKS:
        here = "not trained here"
        if base in trained and other in trained:
            hours = [statistics.mean(row.cpu_hours for row in trained[network]) for network in (base, other)]
            here = error_difference(trained[base], trained[other])
            here += f" {hours[1] / hours[0]:.1f} times the time." if hours[0] else ""
        rows.append((remark, f"{other} compared with {base}", here))
    for remark, network in SURVEY_CURVE_REMARKS:
        results = trained.get(network)
        here = _least_loss(read_curve(curve_path(results_dir, *results[0].key))) if results else "not trained here"
        rows.append((remark, f"the curve of {network}", here))
    table = markdown_table(("the survey", "shown by", "here"), [*rows, *SURVEY_OTHER_REMARKS])
    return ["## The survey's remarks\n", *table, ""]


def _least_loss(curve: Sequence[Mapping[str, float]]) -> str:
    least, last = min(curve, key=lambda row: row["val_loss"]), curve[-1]
    return (
        f"test loss {last['val_loss']:.2f} after epoch {last['epoch']:.0f}; least {least['val_loss']:.2f} after epoch "
        f"{least['epoch']:.0f}."
    )


def _survey_imagenet() -> list[str]:
    columns = ("network", "top-1 error", "top-5 error", "parameters", "right", "the survey's number is")
    return [
        "## The survey's ImageNet table\n",
        "Its numbers of parameters are mixed with those of networks for CIFAR. In millions:\n",
        *markdown_table(columns, SURVEY_IMAGENET),
        "",
    ]
