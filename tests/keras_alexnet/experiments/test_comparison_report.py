"""docs/comparison.md is what the result files say."""

import dataclasses
import sys
from pathlib import Path

import pytest

from keras_alexnet.experiments import comparison_report as report
from keras_alexnet.experiments.comparison import parse_entry
from keras_alexnet.experiments.costs import Costs, costs_path, read_costs
from keras_alexnet.experiments.published import CIFAR10, SURVEY_REMARKS
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


def test_networks_that_were_not_trained_are_recipes_with_the_published_errors(tmp_path):
    text = report.report_text(tmp_path)
    assert "| wrn_28_10 |  |  | recipe only |  |  |  |  | 4.0 % |  |" in text
    assert text.count("No network was trained here.") == 2


def test_every_published_error_is_of_a_network_that_exists():
    for network in CIFAR10:
        assert parse_entry(network).image_size <= 32


def test_errors_and_costs_of_a_network_are_beside_what_was_published(write):
    text = report.report_text(write())
    assert "| resnet_20 | 2 | 0.1 | 18.0 % | 20.0 % | 20.0 % | 0.90 |  | 8.8 % |  |" in text
    assert "| resnet_20 | 32 | 269,722 | 40,551,808 | 2.0 | 5.0 | 3.0 | 8.0 | 2.5 |" in text
    assert "| 2026-11-28, abc1234, a processor |" in text and f"`{COMMAND}`" in text


def test_networks_are_in_the_order_of_their_errors_and_measured_ones_follow(write):
    write("squeezenet_cifar", ten_crop_top1_error=0.3)
    write("resnet_20", ten_crop_top1_error=0.2)
    found = [line.network for line in report.lines(write("wrn_28_10", trained=False), NAME)]
    assert found[:3] == ["resnet_20", "squeezenet_cifar", "wrn_28_10"] and "resnet_110" in found[3:]


def test_a_change_is_compared_with_the_network_without_it(write):
    write()
    text = report.report_text(write("resnet_20+cutout=16", ten_crop_top1_error=0.15))
    assert (
        "- resnet_20+cutout=16 compared with resnet_20: -3.0 points of ten-crop error; two standard errors are" in text
    )


def test_remarks_of_the_survey_are_beside_what_was_found(write):
    for _, *networks in SURVEY_REMARKS:
        assert all(parse_entry(network) for network in networks)
    write()
    text = report.report_text(write("wrn_16_2", ten_crop_top1_error=0.15, cpu_hours=1.8))
    wider = (
        "| wrn_16_2 compared with resnet_20 | -3.0 points of ten-crop error; two standard errors are 1.0 points. 2.0 "
    )
    assert wider in text and text.count("| not trained here |") == len(SURVEY_REMARKS) - 1


def test_seeds_are_summarized(write):
    write()
    assert "| resnet_20 | 2 (2 seeds) | 0.1 | 20.0 % ± 2.8 |" in report.report_text(
        write(seed=1, ten_crop_top1_error=0.22)
    )


def test_a_training_without_costs_has_a_row(write):
    text = report.report_text(write(measured=False))
    assert "| resnet_20 | 2 | 0.1 | 18.0 % |" in text and "### Costs" not in text


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


def test_without_matplotlib_there_are_no_figures(write, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not report.write_figures(write(), NAME)
    assert "pip install 'keras-alexnet[figures]'" in capsys.readouterr().out
