"""docs/comparison.md is what the result files say."""

import dataclasses
import sys
from pathlib import Path

import pytest

from keras_alexnet import networks
from keras_alexnet.experiments import comparison_report as report
from keras_alexnet.experiments.comparison import parse_entry
from keras_alexnet.experiments.comparison_tables import lines
from keras_alexnet.experiments.costs import Costs, costs_path, read_costs
from keras_alexnet.experiments.published import (
    APPLICATIONS,
    PUBLISHED,
    SURVEY_CURVE_REMARKS,
    SURVEY_OTHER_REMARKS,
    SURVEY_REMARKS,
)
from keras_alexnet.experiments.results import Result, add_row, curve_path, read_results, write_result

RESULTS = Path(__file__).parents[3] / "docs" / "results"
NAME = "comparison_cifar10"
METRICS = "epoch,loss,top1_error,val_top1_error,val_loss\n1,2.0,0.6,0.5,2.0\n2,1.5,0.2,0.3,1.4\n"
COMMAND = "python -m keras_alexnet.train --learning_rate=0.1 --seed=0"
RESULT = Result(
    *(NAME, "resnet_20", 0, 2, 10_000, 0.2, 0.18, 2, 0.2, 1.5, 0.2, None, 0.5, 0.9),
    *(COMMAND, "abc1234", "a processor", "2026-11-28"),
)
COSTS = Costs("resnet_20", "resnet_20", 10, 32, 269_722, 40_551_808, 2.0, 5.0, 3.0, 8.0, 2.5, "a processor")


@pytest.fixture
def write(tmp_path):
    """Writes rows of a network."""
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(METRICS)

    def write(network="resnet_20", trained=True, measured=True, **changes):
        run = "".join(c if c.isalnum() else "_" for c in network)
        if trained:
            write_result(tmp_path / "results", dataclasses.replace(RESULT, run=run, **changes), metrics)
        if measured:
            row = dataclasses.replace(COSTS, run=run, network=network)
            add_row(costs_path(tmp_path / "results", NAME), row)
        return tmp_path / "results"

    return write


def test_the_committed_page_is_that_of_the_committed_rows():
    assert (RESULTS.parent / "comparison.md").read_text(encoding="utf-8") == report.report_text(RESULTS)


def test_every_committed_row_has_its_curve_its_costs_and_its_figures():
    for name in report.comparisons(RESULTS):
        rows = read_results(RESULTS, name)
        costs = read_costs(RESULTS, name)
        for row in rows:
            assert curve_path(RESULTS, *row.key).is_file() and row.run in costs
        assert all((RESULTS / f"{name}{suffix}.svg").is_file() for suffix in ("", "_curves")) or not rows


def section(text, title):
    """The text of a section of the page."""
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_networks_that_were_not_trained_are_recipes_with_the_published_errors(tmp_path):
    text = report.report_text(tmp_path)
    assert text.count("No network was trained here.") == 3
    assert "| network | here | survey, hours | survey | authors | remark |" in section(text, "CIFAR-10")
    assert "| wrn_28_10 | recipe only |  |  | 4.0 % |  |" in section(text, "CIFAR-10")
    assert "| survey_densenet | recipe only | 19.6 | 5.1 % |  |  |" in section(text, "CIFAR-10")
    assert "| survey_densenet | recipe only | 19.6 | 24.6 % |  |  |" in section(text, "CIFAR-100")
    assert "| network | here | survey, ImageNet | authors, ImageNet | remark |" in section(text, "Imagenette")
    assert "| keras.applications.DenseNet201 | recipe only | 23.5 % | 22.58 % |  |" in section(text, "Imagenette")


def test_every_registered_network_has_a_row_and_of_keras_applications_those_of_the_survey(tmp_path):
    text = report.report_text(tmp_path)
    for name in networks.names():
        title = "CIFAR-10" if networks.find(name).image_size <= 32 else "Imagenette"
        is_listed = not name.startswith(APPLICATIONS) or name in PUBLISHED["imagenette"]
        assert (f"| {name} | recipe only |" in section(text, title)) == is_listed, name


def test_every_published_error_is_of_a_network_that_exists():
    for dataset, published in PUBLISHED.items():
        assert all((parse_entry(name).image_size <= 32) == dataset.startswith("cifar") for name in published)


def test_errors_and_costs_of_a_network_are_beside_what_was_published(write):
    text = section(report.report_text(write()), "CIFAR-10")
    assert "| CPU hours | authors | remark |" in text
    assert "| resnet_20 | 2 | 0.1 | 18.0 % | 20.0 % | 20.0 % | 0.90 | 8.75 % |  |" in text
    assert "| resnet_20 | 32 | 269,722 | 40,551,808 | 2.0 | 5.0 | 3.0 | 8.0 | 2.5 |" in text
    assert "| 2026-11-28, abc1234, a processor |" in text and f"`{COMMAND[:-1]}SEED`" in text


def test_the_surveys_hours_are_beside_ours(write):
    text = report.report_text(write("squeezenet_cifar"))
    assert "| CPU hours | survey, hours | survey | remark |" in text and "| 0.90 | 1.8 | 10.8 % |" in text


def test_the_learning_rate_of_a_row_is_the_one_that_was_used(write):
    text = report.report_text(write(command=f"{COMMAND} --learning_rate=0.05"))
    assert "| resnet_20 | 2 | 0.05 |" in text


def test_networks_are_in_the_order_of_their_errors_and_measured_ones_follow(write):
    write("squeezenet_cifar", ten_crop_top1_error=0.3)
    write("resnet_20", ten_crop_top1_error=0.2)
    found = [line.network for line in lines(write("wrn_28_10", trained=False), NAME)]
    assert found[:2] == ["resnet_20", "squeezenet_cifar"] and {"wrn_28_10", "resnet_110"} < set(found[2:])


def test_a_change_is_compared_with_the_network_without_it(write):
    write()
    text = report.report_text(write("resnet_20+cutout=16", ten_crop_top1_error=0.15))
    assert "- resnet_20+cutout=16 compared with resnet_20: -3.0 points of ten-crop error (95 % interval: " in text


def test_remarks_of_the_survey_are_beside_what_was_found(write):
    for _, *compared in SURVEY_REMARKS:
        assert all(parse_entry(network) for network in compared)
    write()
    text = report.report_text(write("wrn_16_2", ten_crop_top1_error=0.15, cpu_hours=1.8))
    wider = "| wrn_16_2 compared with resnet_20 | -3.0 points of ten-crop error (95 % interval: "
    assert wider in text and " 2.0 times the time. |" in text
    assert text.count("| not trained here |") == len(SURVEY_REMARKS) + len(SURVEY_CURVE_REMARKS) - 1
    assert all(f"| {' | '.join(row)} |" in text for row in SURVEY_OTHER_REMARKS)


def test_a_remark_about_a_curve_has_the_least_loss_of_the_curve(write):
    text = report.report_text(write("googlenet_cifar"))
    assert "| the curve of googlenet_cifar | test loss 1.40 after epoch 2; least 1.40 after epoch 2. |" in text


def test_seeds_are_summarized(write):
    write()
    assert "| resnet_20 | 2 (2 seeds) | 0.1 | 20.0 % ± 2.8 |" in report.report_text(
        write(seed=1, ten_crop_top1_error=0.22)
    )


def test_a_training_without_costs_has_a_row(write):
    text = report.report_text(write(measured=False))
    assert "| resnet_20 | 2 | 0.1 | 18.0 % |" in text and "### Costs" not in text
    assert "| resnet_20 | recipe only |" not in section(text, "CIFAR-10")


@pytest.mark.medium
def test_page_and_figures_are_written_from_the_rows(write, tmp_path):
    pytest.importorskip("matplotlib")
    write("resnet_20+cutout=16")
    assert report.write_report(write()) == tmp_path / "comparison.md"
    for name in (NAME, f"{NAME}_curves"):
        text = (tmp_path / "results" / f"{name}.svg").read_text()
        assert len(text) > 5000


def test_the_terminal_shows_no_networks_without_rows(write, capsys):
    report.print_table(write(), NAME)
    printed = capsys.readouterr().out
    assert "269,722" in printed and "18.0 %" in printed and "resnet_110" not in printed


def test_the_terminal_shows_the_remarks_of_the_page(write, capsys):
    directory = write()
    add_row(costs_path(directory, NAME), dataclasses.replace(COSTS, run="lenet5", network="lenet5"))
    report.print_table(directory, NAME)
    assert "lenet5: grey images" in capsys.readouterr().out


def test_a_comparison_of_cifar_100_shows_its_published_errors(tmp_path, capsys):
    costs = dataclasses.replace(COSTS, run="survey_densenet", network="survey_densenet", classes=100)
    add_row(costs_path(tmp_path, "comparison_cifar100"), costs)
    report.print_table(tmp_path, "comparison_cifar100")
    printed = capsys.readouterr().out
    assert "24.6 %" in printed and "survey, hours" in printed and "wrn_28_10" not in printed


def test_without_matplotlib_there_are_no_figures(write, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not report.write_figures(write(), NAME)
    assert "pip install 'keras-alexnet[figures]'" in capsys.readouterr().out


def test_a_dataset_whose_networks_were_only_measured_has_a_section(tmp_path):
    add_row(costs_path(tmp_path, "comparison_pets"), COSTS)
    assert report.comparisons(tmp_path) == ["comparison_pets"]
    text = report.report_text(tmp_path)
    assert "## pets" in text and "| resnet_20 | 32 | 269,722 |" in text


def test_a_row_without_a_learning_rate_or_with_too_few_cells(write):
    folder = write(command="python -m keras_alexnet.train --seed=0")
    assert "| resnet_20 | 2 |  | 18.0 % |" in report.report_text(folder)
    path = folder / f"{NAME}.csv"
    path.write_text(path.read_text().splitlines()[0] + "\ncomparison_cifar10,resnet_20\n")
    with pytest.raises(ValueError, match="line 2: expected 20 cells, one for each column"):
        report.report_text(folder)
