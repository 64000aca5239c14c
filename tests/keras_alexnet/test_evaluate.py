import csv
import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import export_model
from keras_alexnet.evaluate import default_crops, evaluate, print_rates
from keras_alexnet.layers import Swapout
from keras_alexnet.pretrained import LoadedNetwork, load_network, network_probabilities
from keras_alexnet.training.evaluation import ErrorRates, Evaluator, mean_of_networks
from keras_alexnet.training.results_file import COLUMNS, append_result, check_results_file, write_class_errors
from tests.helpers.commands import run_command

pytestmark = pytest.mark.medium

COMMAND = "keras_alexnet.evaluate"


@pytest.fixture
def copied(photographs, tmp_path):
    return shutil.copytree(photographs, tmp_path / "data")


@pytest.fixture(scope="module")
def network(trained):
    return load_network(trained)


@pytest.mark.parametrize("crops", ["center", "ten"])
def test_every_image_counts_once_for_any_batch_size(network, crops):
    rates = [evaluate(network, crops=crops, batch_size=size, max_bad_fraction=0) for size in (2, 100)]
    assert {rate.images for rate in rates} == {9}
    assert len({rate.top1_error for rate in rates}) == 1
    np.testing.assert_allclose([rate.loss for rate in rates], rates[0].loss, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.subprocess
def test_an_export_has_the_error_rates_of_its_model(network, trained, tmp_path, unchecked):
    path = export_model(network.model, tmp_path / "export", network.class_names)
    for crops in ("center", "ten"):
        expected = evaluate(network, crops=crops)
        found = evaluate(load_network(path), network.training["dataset"], crops=crops)
        assert (found.images, found.top1_error) == (expected.images, expected.top1_error)
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)


def test_several_networks_are_averaged_after_the_softmax(network):
    keras.utils.set_random_seed(3)
    other = dataclasses.replace(network, model=keras.models.clone_model(network.model))
    alone = [evaluate(each, crops="center").loss for each in (network, other)]
    average = evaluate([network, other], crops="center")
    assert average.images == 9
    # -log of a mean is less than the mean of -log, and at least that of the best probability halved.
    assert min(alone) - np.log(2) < average.loss < np.mean(alone) - 1e-4
    assert evaluate([network, network], crops="center").loss == pytest.approx(alone[0], rel=1e-5)


def test_means_of_probabilities_are_not_softmaxes_of_mean_logits():
    mean = mean_of_networks([lambda images: images, lambda images: tf.ones_like(images) / 4, lambda images: images])
    scores = np.array([[0.7, 0.1, 0.1, 0.1]], np.float32)
    np.testing.assert_allclose(mean(tf.constant(scores)), (2 * scores + 0.25) / 3, rtol=1e-6)


def test_a_network_is_tested_with_its_authors_crops_too(network):
    ours = LoadedNetwork("run", network="convnet_13pct")
    assert default_crops([ours]) == default_crops([ours, ours]) == ["center", "ten", "nine"]
    assert default_crops([network]) == default_crops([ours, network]) == ["center", "ten"]
    assert evaluate(network, crops="nine").images == 9
    with pytest.raises(ValueError, match=r"^crops=nine: expected center or ten for an export"):
        network_probabilities(LoadedNetwork("export", signatures={}), "nine")


def test_networks_of_different_datasets_need_one_to_be_named(network):
    for name, value in (("dataset", "another"), ("validation_fraction", 0.5)):
        other = dataclasses.replace(network, training={**network.training, name: value})
        with pytest.raises(ValueError, match=rf"^dataset is missing: the models were not trained with the same {name}"):
            evaluate([network, other])


def test_a_network_of_another_size_gets_images_resized_for_it(photographs, tmp_path):
    layers = [keras.Input((64, 64, 3)), keras.layers.AveragePooling2D(8), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(3)]).save(tmp_path / "small.keras")
    small = load_network(tmp_path / "small.keras", preprocessing="none", from_logits=True)
    assert small.resized_size == 73
    small = dataclasses.replace(small, class_names=("blue", "green", "red"))
    assert evaluate(small, f"folder:{photographs}", crops="ten").images == 9


@pytest.mark.slow
def test_passes_with_random_masks_are_averaged(photographs, tmp_path):
    """They are the same each time, and leave the network as it was."""
    keras.utils.set_random_seed(4)
    images = keras.Input((32, 32, 3))
    shortcut = keras.layers.Conv2D(8, 3, 4)(images / 255)
    maps = Swapout(0.5)([shortcut, keras.layers.Conv2D(8, 3, padding="same")(shortcut)])
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(maps))
    keras.Model(images, outputs).save(tmp_path / "small.keras")
    small = load_network(tmp_path / "small.keras", preprocessing="none", from_logits=True)
    small = dataclasses.replace(small, class_names=("blue", "green", "red"))

    def rates(passes):
        return evaluate(small, f"folder:{photographs}", crops="center", stochastic_passes=passes)

    runs = [rates(passes) for passes in (0, 3, 3, 1, 0)]
    assert {run.images for run in runs} == {9}
    plain, three, again, one, after = (run.loss for run in runs)
    assert (again, after) == pytest.approx((three, plain), rel=1e-5)
    assert min(abs(three - plain), abs(three - one)) > 1e-4


def test_a_bad_image_is_named_and_skipped_up_to_the_limit(network, copied, capsys):
    (copied / "val" / "red" / "cut.jpg").write_bytes((copied / "val" / "red" / "0.jpg").read_bytes()[:2000])
    rates = evaluate(network, f"folder:{copied}", crops="center", max_bad_fraction=0.1)
    assert rates.images == 9 and rates.bad == ("val/red/cut.jpg",)
    assert "skipped val/red/cut.jpg" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"^max_bad_fraction=0\.05: 1 of 10 images .*val/red/cut\.jpg"):
        evaluate(network, f"folder:{copied}", crops="center", max_bad_fraction=0.05)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"crops": "five"}, "^crops='five': expected one of center, ten, nine"),
        ({"split": "holdout"}, "^split=holdout: "),
        ({"batch_size": 0}, "^batch_size=0: "),
        ({"stochastic_passes": 3}, "^stochastic_passes=3: .* has no random masks; expected 0"),
        ({"dataset": "folder:/nowhere"}, "^dataset=folder:/nowhere: "),
    ],
)
def test_wrong_arguments_are_named(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(network, **arguments)


def test_other_classes_than_the_networks_are_refused(network, copied):
    for split in ("train", "val"):
        (copied / split / "green").rename(copied / split / "grass")
    with pytest.raises(ValueError, match="class 1 is 'grass', but 'green' in the network"):
        evaluate(network, f"folder:{copied}")


def test_more_classes_than_the_networks_are_refused(network, copied):
    shutil.copytree(copied / "train" / "red", copied / "train" / "violet")
    with pytest.raises(ValueError, match="has 4 classes, but the network 3"):
        evaluate(network, f"folder:{copied}")


def test_a_network_without_class_names_may_predict_classes_that_the_dataset_does_not_have(photographs):
    layers = [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*layers, keras.layers.Dense(4)])
    model.layers[-1].bias.assign([0, 0, 0, 1e9])
    network = LoadedNetwork("four classes", model, from_logits=True, resized_size=36)
    rates = evaluate(network, f"folder:{photographs}", crops="center")
    assert rates.confusion[:, 3].tolist() == [3, 3, 3, 0] and rates.top1_error == rates.macro_error == 1


def test_results_are_appended_below_one_header_even_by_many_at_once(tmp_path):
    path = tmp_path / "results" / "all.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: append_result(path, dict.fromkeys(COLUMNS, n)), range(40)))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["images"]) for row in rows) == list(range(40))


def test_a_results_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"results_file=.*: a directory"):
        append_result(tmp_path, dict.fromkeys(COLUMNS, 0))


@pytest.mark.parametrize("model, crops", [("--model", "--crops"), ("--model_dir", "--views")])
def test_the_command_appends_to_a_file_of_an_older_version(trained, tmp_path, model, crops):
    results = tmp_path / "results.csv"
    old = dict.fromkeys(COLUMNS, "old")
    columns = COLUMNS[: COLUMNS.index("macro_error")]  # as version 0.1 wrote it
    header = ",".join("views" if name == "crops" else name for name in columns)
    results.write_text(header + "\n" + ",".join(old[name] for name in columns) + "\n")
    run = run_command(COMMAND, f"{model}={trained}", f"{crops}=center", f"--results_file={results}")
    assert "center 9 images" in run.stdout and f"appended to {results}" in run.stdout, run.stderr
    with open(results, newline="") as file:
        _, row = csv.DictReader(file)
    assert row["crops"] == "center" and row["images"] == "9" and row["model_dir"] == str(trained)
    assert 0 <= float(row["macro_error"]) <= 1 and 0 <= float(row["calibration_error"]) <= 1


def test_the_results_of_a_run_go_into_its_directory(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    assert (
        run_command(COMMAND, f"--model={run}").stdout.count("top-1 error") == 2
        and (run / "results.csv").read_text().count("\n") == 3
    )


def test_the_average_of_runs_is_one_row_in_the_current_directory(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = shutil.copytree(trained, tmp_path / "other")
    run = run_command(COMMAND, f"--model={trained}", f"--model_dir={other}", "--crops=center")
    assert f"average of 2 networks: {trained} + {other}" in run.stdout, run.stderr
    with open("results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["model_dir"], row["steps"]) == (f"{trained} + {other}", "12 + 12")


def test_the_command_reports_a_missing_model_in_one_line(tmp_path):
    run = run_command(COMMAND, f"--model={tmp_path / 'none'}")
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1 and str(tmp_path / "none") in run.stderr


def test_the_errors_of_classes_are_a_table(tmp_path):
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    rates = ErrorRates(8, 3 / 8, 0.0, 1.0, 0, (), confusion=counts)
    np.testing.assert_allclose(rates.class_errors, [0.25, np.nan, 0.5])
    assert rates.macro_error == pytest.approx(0.375)
    write_class_errors(tmp_path / "classes.csv", ["ant", "bee", "cat"], {"center": rates, "ten": rates})
    assert (tmp_path / "classes.csv").read_text().splitlines() == [
        "class,images,center_top1_error,ten_top1_error",
        "ant,4,0.25,0.25",
        "bee,0,,",
        "cat,4,0.5,0.5",
    ]


def test_the_calibration_error_is_that_of_fifteen_bins():
    random = np.random.default_rng(0)
    scores = random.dirichlet(np.ones(4), 50).astype(np.float32)
    labels = random.integers(0, 4, 50).astype(np.int32)
    valid = np.arange(50) % 5 > 0
    batches = [(tf.constant(scores), tf.constant(labels), tf.constant(valid), tf.fill([50], "key"))]
    rates = Evaluator(lambda images: images)(batches)
    expected, largest, correct = 0.0, scores.max(1), scores.argmax(1) == labels
    for index in range(15):
        members = valid & (largest > index / 15) & (largest <= (index + 1) / 15)
        if members.any():
            expected += members.sum() / valid.sum() * abs(correct[members].mean() - largest[members].mean())
    assert rates.calibration_error == pytest.approx(expected, abs=1e-6)
    assert expected > 0.05


def test_a_results_file_of_another_kind_is_refused_before_the_evaluation(trained, tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xd8")
    for name, says in (("mine.csv", "found columns a, b; expected time, model_dir"), ("bytes.csv", "is not text")):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=says):
            check_results_file(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="a named pipe, not a regular file"):
        check_results_file(tmp_path / "pipe.csv")
    finished = run_command(COMMAND, f"--model={trained}", f"--results_file={tmp_path / 'mine.csv'}")
    assert finished.returncode == 1 and "top-1" not in finished.stdout and finished.stderr.count("\n") == 1


def test_class_names_are_safe_for_terminals_and_spreadsheets(tmp_path, capsys):
    rates = ErrorRates(2, 1.0, 1.0, 1.0, 0, (), confusion=np.array([[0, 1], [1, 0]]))
    print_rates(rates, "center", "x", ["\x1b[31mred", "=SUM(A1)"])
    assert "\x1b" not in capsys.readouterr().out
    write_class_errors(tmp_path / "c.csv", ["\x1b[31mred", "=SUM(A1)"], {"center": rates})
    assert "\x1b" not in (tmp_path / "c.csv").read_text() and "\n=" not in (tmp_path / "c.csv").read_text()
