import csv
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.evaluate import COLUMNS, append_result, evaluate, open_evaluation_source
from pipelines.datasets.registry import open_source


@pytest.fixture
def copied(photographs, tmp_path):
    return shutil.copytree(photographs, tmp_path / "data")


def error_rates(trained, folder, ceiling=0.0, views="center"):
    model, description, _ = load_trained(trained)
    source = open_evaluation_source(description, f"folder:{folder}", None)
    return evaluate(model, source, "validation", views, description.resize, 4, ceiling)


@pytest.mark.parametrize("views", ["center", "ten"])
def test_every_image_counts_once_whatever_the_batch(trained, photographs, views):
    model = load_trained(trained)[0]
    source = open_source(f"folder:{photographs}")
    rates = [evaluate(model, source, "validation", views, "shorter_side", size, 0.0) for size in (1, 4, 9, 100)]
    assert {rate.images for rate in rates} == {9}
    assert len({rate.top1_error for rate in rates}) == 1
    assert max(rate.loss for rate in rates) - min(rate.loss for rate in rates) < 1e-4


def test_a_bad_image_is_named_and_skipped_up_to_the_ceiling(trained, copied, capsys):
    (copied / "val" / "red" / "cut.jpg").write_bytes((copied / "val" / "red" / "0.jpg").read_bytes()[:2000])
    rates = error_rates(trained, copied, ceiling=0.1)
    assert rates.images == 9 and rates.bad == ("val/red/cut.jpg",)
    assert "skipped val/red/cut.jpg" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"1 of 10 images .*val/red/cut\.jpg.*--max_bad_fraction=0\.05"):
        error_rates(trained, copied, ceiling=0.05)


def test_other_classes_than_the_networks_are_refused(trained, copied):
    for split in ("train", "val"):
        (copied / split / "green").rename(copied / split / "grass")
    with pytest.raises(ValueError, match="class 1 is 'grass'; the network's is 'green'"):
        error_rates(trained, copied)


def test_more_classes_than_the_networks_are_refused(trained, copied):
    shutil.copytree(copied / "train" / "red", copied / "train" / "violet")
    with pytest.raises(ValueError, match="has 4 classes; the network has 3"):
        error_rates(trained, copied)


def test_results_are_appended_below_one_header_even_by_many_at_once(tmp_path):
    path = tmp_path / "results" / "all.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: append_result(path, dict.fromkeys(COLUMNS, n)), range(40)))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["images"]) for row in rows) == list(range(40))


def test_a_results_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"results_file=.*: Is a directory"):
        append_result(tmp_path, dict.fromkeys(COLUMNS, 0))
