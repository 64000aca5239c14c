"""docs/results.md is what the result files say."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from keras_alexnet.experiments import report, tables
from keras_alexnet.experiments.definitions import EXPERIMENTS, find_experiment
from keras_alexnet.experiments.results import COLUMNS, Result, read_results, write_result

RESULTS = Path(__file__).parents[3] / "docs" / "results"
METRICS = "epoch,loss,top1_error,val_top1_error\n1,2.0,0.6,0.5\n2,1.5,0.2,0.3\n"
RESULT = Result(
    experiment="lrn",
    run="without",
    seed=0,
    epochs=2,
    images=10_000,
    center_top1_error=0.2,
    ten_crop_top1_error=0.18,
    best_epoch=2,
    best_center_top1_error=0.2,
    train_loss=1.5,
    train_top1_error=0.2,
    epochs_to_target=None,
    hours=0.5,
    cpu_hours=0.9,
    command="python -m keras_alexnet.train",
    revision="abc1234",
    processor="a processor",
    date="2026-11-28",
)


def write(directory, metrics, **changes):
    write_result(directory, dataclasses.replace(RESULT, **changes), metrics)


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(METRICS)
    return path


def test_the_committed_report_is_that_of_the_committed_results():
    assert (RESULTS.parent / "results.md").read_text(encoding="utf-8") == report.report_text(RESULTS)


def test_a_command_is_shown_once_for_all_seeds():
    train = "python -m keras_alexnet.train --epochs={} --seed={}"
    rows = [dataclasses.replace(RESULT, seed=seed, command=train.format(2, seed)) for seed in (0, 10)]
    rows.append(dataclasses.replace(RESULT, seed=3, command=train.format(4, 3)))
    shown = [line for line in tables.provenance(rows) if "python" in line]
    assert shown == [
        "- without, seeds 0, 10: `python -m keras_alexnet.train --epochs=2 --seed=SEED`",
        "- without, seed 3: `python -m keras_alexnet.train --epochs=4 --seed=SEED`",
    ]


def test_committed_results_are_of_the_runs_that_are_described():
    for experiment in EXPERIMENTS:
        for row in read_results(RESULTS, experiment.name):
            words, run = shlex.split(row.command), experiment.run(row.run)
            expected = {*experiment.flags, *run.flags, f"--seed={row.seed}"}
            if run.average_of:
                expected = {f"--model=RUN_{seed}" for seed in experiment.seeds}
            assert expected <= {*words}, (experiment.name, row.run)


def test_every_committed_result_has_its_curve_and_its_figure():
    for experiment in EXPERIMENTS:
        rows = read_results(RESULTS, experiment.name)
        for row in rows:
            curve = RESULTS / "curves" / f"{experiment.name}-{row.run}-{row.seed}.csv"
            assert curve.is_file() != bool(experiment.run(row.run).average_of)
        assert (RESULTS / report.figure_name(experiment)).is_file() == bool(rows)


@pytest.mark.parametrize("figure", sorted(RESULTS.glob("*.svg")), ids=lambda path: path.stem)
def test_committed_figures_were_drawn_from_the_committed_results(figure):
    sources = tables.figure_sources(RESULTS, figure.stem.removesuffix("_curves"))
    assert tables.figure_description(sources) in figure.read_text(encoding="utf-8")


def test_a_figure_of_other_results_is_noticed(tmp_path, metrics):
    write(tmp_path, metrics)
    before = tables.figure_description(tables.figure_sources(tmp_path, "lrn"))
    (tmp_path / "curves" / "lrn-without-0.csv").write_text(METRICS.replace("0.3", "0.4"))
    assert tables.figure_description(tables.figure_sources(tmp_path, "lrn")) != before


def test_remarks_on_the_data_come_from_the_results(tmp_path, metrics):
    write(tmp_path, metrics, dataset="cifar10")
    text = report.report_text(tmp_path)
    assert "Evaluated on 10,000 images of cifar10." in text and "JPEG" not in text
    (tmp_path / "remarks.csv").write_text("name,remark\ncifar10,JPEG files.\nlrn,Short runs.\nother,None.\n")
    assert "\nJPEG files. Short runs.\n" in report.report_text(tmp_path)


def test_overfitting_is_compared_where_the_claim_is_about_it(tmp_path, metrics):
    write(tmp_path, metrics, experiment="regularization", run="both", train_top1_error=0.15)
    write(tmp_path, metrics, experiment="regularization", run="no_dropout", train_top1_error=0.1)
    sentence = "The centre error is 10.0 points above the training error; with crops, flips and dropout 5.0."
    assert sentence in report.report_text(tmp_path)


def test_an_experiment_without_results_says_so(tmp_path):
    assert report.report_text(tmp_path).count("Not run here.") == len(EXPERIMENTS)


def test_a_difference_within_the_spread_is_not_resolved(tmp_path, metrics):
    for seed, (without, with_lrn) in enumerate([(0.18, 0.179), (0.19, 0.17)]):
        write(tmp_path, metrics, seed=seed, ten_crop_top1_error=without)
        write(tmp_path, metrics, seed=seed, ten_crop_top1_error=with_lrn, run="with")
    text = report.report_text(tmp_path)
    assert "18.5 % ± 0.7" in text
    assert re.search(r"convnet_13pct with LRN: -1\.\d points of ten-crop error \(.*\): not resolved here\.", text)


def test_a_difference_beyond_the_spread_is_stated(tmp_path, metrics):
    write(tmp_path, metrics, ten_crop_top1_error=0.18)
    write(tmp_path, metrics, ten_crop_top1_error=0.15, run="with")
    text = report.report_text(tmp_path)
    # 1.96 sqrt(18 * 82 / 10,000 + 15 * 85 / 10,000)
    assert "-3.0 points of ten-crop error (95 % interval: ±1.0 for other images)." in text


def test_a_difference_beyond_the_seeds_but_not_the_images_is_resolved_for_these_images(tmp_path, metrics):
    for seed, (without, with_lrn) in enumerate([(0.180, 0.171), (0.181, 0.172), (0.182, 0.173)]):
        write(tmp_path, metrics, seed=seed, ten_crop_top1_error=without)
        write(tmp_path, metrics, seed=seed, ten_crop_top1_error=with_lrn, run="with")
    text = report.report_text(tmp_path)
    # 2.776 sqrt(2 * 0.01 / 3) and 1.96 sqrt(18.1 * 81.9 / 10,000 + 17.2 * 82.8 / 10,000)
    interval = "95 % interval: ±0.2 for other seeds, ±1.1 for other images"
    assert f"-0.9 points of ten-crop error ({interval}): resolved for these images only." in text


def test_errors_on_other_classes_are_not_compared(tmp_path, metrics):
    for name, error in (("scratch", 0.3), ("other_half", 0.2), ("finetuned", 0.25)):
        write(tmp_path, metrics, experiment="pretraining", run=name, ten_crop_top1_error=error)
    text = report.report_text(tmp_path)
    assert "- five convolutions, fine-tuned from them: -5.0 points" in text
    assert "- five convolutions, the other classes" not in text


def test_a_run_is_compared_with_the_baseline_that_it_names(tmp_path, metrics):
    for name, error in (("paper", 0.3), ("better_24", 0.2), ("source2012", 0.15)):
        write(tmp_path, metrics, experiment="imagenette", run=name, ten_crop_top1_error=error)
    text = report.report_text(tmp_path)
    baseline = 'against "a better schedule and crops, half as many epochs"'
    assert f"- the 2012 code's network, better schedule and crops, {baseline}: -5.0 points" in text
    assert "half as many epochs: " not in text


def test_nine_crops_have_a_column_where_there_are_some(tmp_path, metrics):
    write(tmp_path, metrics, nine_crop_top1_error=0.175)
    write(tmp_path, metrics, run="with")
    text = report.report_text(tmp_path)
    assert "| centre error | nine-crop error | training error |" in text and "| 20.0 % | 17.5 % | 20.0 % |" in text
    assert "| 20.0 % |  | 20.0 % |" in text


def test_runs_start_from_earlier_runs_of_the_same_network_on_known_subsets():
    for experiment in EXPERIMENTS:
        names: list[str] = []
        for run in experiment.runs:
            assert not run.subset or len(experiment.subsets[run.subset]) > 1
            if run.init_from:
                assert run.init_from in names and experiment.run(run.init_from).flags == run.flags
            names.append(run.name)
    first, second = find_experiment("pretraining").subsets.values()
    assert len({*first, *second}) == 10


def test_epochs_to_the_target_are_compared(tmp_path, metrics):
    times = {"experiment": "relu_tanh", "seed": 0}
    write(tmp_path, metrics, run="relu", epochs_to_target=2.0, **times)
    write(tmp_path, metrics, run="tanh", epochs_to_target=11.0, **times)
    assert "tanh: 5.5 times as many epochs as ReLU." in report.report_text(tmp_path)
    write(tmp_path, metrics, run="tanh", epochs_to_target=None, **times | {"seed": 1})
    assert "tanh: 5.5 times as many epochs as ReLU (1 of 2 seeds reached it)." in report.report_text(tmp_path)
    write(tmp_path, metrics, run="tanh", epochs_to_target=None, **times)
    assert "25 % training error was not reached in 2 epochs, 1.0 times as many as ReLU needs." in report.report_text(
        tmp_path
    )


def test_a_result_is_replaced_by_its_repetition(tmp_path, metrics):
    write(tmp_path, metrics)
    write(tmp_path, metrics, epochs=3)
    assert [row.epochs for row in read_results(tmp_path, "lrn")] == [3]


def test_files_of_another_format_are_refused(tmp_path):
    (tmp_path / "lrn.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=rf"lrn\.csv: found columns .*; expected {', '.join(COLUMNS[:3])}"):
        read_results(tmp_path, "lrn")


def test_a_cell_that_is_not_a_number_is_named_with_its_line(tmp_path, metrics):
    write(tmp_path, metrics)
    path = tmp_path / "lrn.csv"
    path.write_text(path.read_text().replace("lrn,with", "lrn,with,x"))
    with pytest.raises(ValueError, match=r"lrn\.csv: line 2: "):
        read_results(tmp_path, "lrn")


def test_without_matplotlib_the_report_has_no_figures(tmp_path, metrics, monkeypatch, capsys):
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    write(tmp_path / "results", metrics)
    assert report.write_report(tmp_path / "results").is_file()
    assert not list(tmp_path.rglob("*.svg")) and capsys.readouterr().out.startswith("no figures: pip install")


def test_figures_are_drawn_from_the_curves(tmp_path, metrics):
    pytest.importorskip("matplotlib")
    directory = tmp_path / "results"
    write(directory, metrics)
    assert report.write_report(directory) == tmp_path / "results.md"
    drawn = (directory / "lrn.svg").read_bytes()
    assert len(drawn) > 1000
    report.write_report(directory)
    assert (directory / "lrn.svg").read_bytes() == drawn, "changes without new results"


def test_names_of_experiments_are_unique_and_unknown_ones_are_refused():
    names = [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
    for experiment in EXPERIMENTS:
        assert len({run.name for run in experiment.runs}) == len(experiment.runs)
    with pytest.raises(ValueError, match="experiment=none: expected one of imagenette"):
        find_experiment("none")


def test_a_page_of_others_is_not_overwritten(tmp_path, metrics):
    write(tmp_path / "results", metrics)
    (tmp_path / "results.md").write_bytes(b"mine \xff")
    with pytest.raises(ValueError, match=r"^results_dir=.*results\.md was not written by a report"):
        report.write_report(tmp_path / "results")
    assert (tmp_path / "results.md").read_bytes() == b"mine \xff"
    (tmp_path / "results.md").unlink()
    assert report.write_report(tmp_path / "results") == report.write_report(tmp_path / "results")


def test_a_curve_without_epochs_is_named(tmp_path, metrics):
    write(tmp_path / "results", metrics)
    (curve,) = (tmp_path / "results" / "curves").iterdir()
    curve.write_text("garbage\n")
    with pytest.raises(ValueError, match=rf"{curve.name}: found no row with a column epoch"):
        report.write_report(tmp_path / "results")
