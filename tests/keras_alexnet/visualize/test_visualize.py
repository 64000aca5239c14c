import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_alexnet.prediction.formats import Columns, find_format
from keras_alexnet.prediction.predictor import Prediction
from keras_alexnet.pretrained import load_network
from keras_alexnet.visualize import neighbours
from keras_alexnet.visualize import photographs as photographs_of_figures
from serving import signatures as wire
from tests.helpers.commands import run_command

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.medium

COMMAND = "keras_alexnet.visualize.__main__"


@pytest.fixture(scope="module")
def network(trained):
    return load_network(trained)


def request_for(trained, network, **changes):
    # Needs Keras, which commands must not import early.
    from keras_alexnet.visualize.figures import Request

    return Request(str(trained), network, **changes)


def drawn(name: str, request) -> list[str]:
    from matplotlib.text import Text

    from keras_alexnet.visualize.figures import DRAW

    figure = DRAW[name](request)
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("name, suffix", [("kernels", "png"), ("architecture", "svg")])
def test_the_command_writes_the_figure_and_prints_its_path(trained, tmp_path, name, suffix):
    path = tmp_path / f"figure.{suffix}"
    run = run_command(COMMAND, name, f"--model={trained}", f"--output={path}")
    assert run.stdout == f"{name}: {path}\n", run.stderr
    if suffix == "png":
        assert Image.open(path).width > 500
    else:
        assert "<svg" in path.read_text() and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model=x"], "received nothing; expected one of kernels, "),
        (["portrait", "--model=x"], "received portrait; expected one of kernels, "),
        (["kernels", "--model=x", "--output=a.jpg"], "--output=a.jpg: expected a name that ends in .png or .svg"),
        (
            ["kernels", "--model=x", "--output=/nowhere/a.png"],
            "--output=/nowhere/a.png: expected a file in a directory",
        ),
        (["kernels", "--model=/nowhere"], "--model=/nowhere: no such file"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, message):
    run = run_command(COMMAND, *arguments)
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith(f"error: {message}") and run.stderr.count("\n") == 1


def test_a_missing_matplotlib_is_named_in_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'keras-alexnet[figures]'" in run_command(COMMAND, "kernels", "--model=x").stderr


def test_a_network_is_called_what_its_user_calls_it(trained, network):
    """Not functional_5, the name of a model that was given none."""
    renamed = dataclasses.replace(network, network="my_module:build")
    assert "Kernels of the first convolution: my_module:build" in drawn("kernels", request_for(trained, renamed))


def test_predictions_show_a_photograph_of_each_class(trained, network):
    shown = drawn("predictions", request_for(trained, network))
    assert {"blue", "green", "red"} <= set(shown) and any("validation images" in text for text in shown)


@pytest.mark.parametrize("count, expected", [(12, [4, 4, 4]), (10, [4, 3, 3]), (2, [1, 1, 0]), (30, [11, 8, 11])])
def test_a_sample_has_as_many_photographs_of_each_class(network, photographs, count, expected):
    encoded = (photographs / "train" / "blue" / "0.jpg").read_bytes()
    # Many of the first class come first; of the second there are 8.
    labels = [0] * 20 + [1] * 4 + [0, 2, 2, 1] * 4 + [2] * 20
    examples = [(encoded, label, str(place)) for place, label in enumerate(labels)]
    source = SimpleNamespace(name="three", class_names=["a", "b", "c"], examples=lambda split, shuffle_seed: examples)
    chosen = [photograph.label for photograph in photographs_of_figures.sample(network, source, "train", count)]
    assert chosen == sorted(chosen)
    found = [chosen.count(label) for label in range(3)]
    assert sum(found) == min(count, sum(expected)) and sorted(found) == sorted(expected)


def test_files_are_shown_with_their_names_and_bad_ones_are_left_out(trained, network, photographs, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    files = (str(photographs / "val" / "red" / "0.jpg"), str(tmp_path / "bad.jpg"))
    shown = drawn("predictions", request_for(trained, network, images=files, crops="ten"))
    assert "0.jpg" in shown and "bad.jpg" not in shown
    assert "bad.jpg: cannot be decoded" in capsys.readouterr().err


def test_figures_of_one_network_share_their_decoder(network):
    assert photographs_of_figures.decoder(network) is photographs_of_figures.decoder(dataclasses.replace(network))


def test_neighbours_are_training_images_other_than_the_query(trained, network):
    shown = drawn("neighbours", request_for(trained, network, split="train", layer="fc6"))
    assert sum(text in ("blue", "green", "red") for text in shown) == 5 * 7
    distances = [float(text) for text in shown if text.replace(".", "").isdigit()]
    assert len(distances) == 5 * 6 and min(distances) > 0


def test_the_nearest_rows_are_found_over_batches():
    random = np.random.default_rng(0)
    features, queries = random.normal(size=(50, 4)), random.normal(size=(3, 4))
    nearest = neighbours.Nearest(queries, 5)
    for start in range(0, 50, 7):
        nearest.add(features[start : start + 7], range(start, min(start + 7, 50)))
    for query, best in zip(queries.astype(np.float32), nearest.best, strict=True):
        distances = np.linalg.norm(features - query, axis=1)
        assert [row for _, row in best] == np.argsort(distances)[:5].tolist()


def write_features(path: Path, rows: list[tuple[str, list[float] | None]]) -> None:
    """Writes a file with the writer of `keras_alexnet.predict --features`; rows without features are invalid images."""
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    part, columns = path.with_name("part"), Columns(top_k=1, features=len(rows[0][1] or ()))
    written = find_format(path)
    written.write([prediction(*row) for row in rows], columns, part)
    written.join([part], columns, path)


def prediction(name: str, features: list[float] | None) -> Prediction:
    if features is None:
        return Prediction(name, False, "broken")
    return Prediction(
        name, True, labels=("blue",), classes=(0,), scores=(1.0,), features=np.array(features, np.float32)
    )


@pytest.mark.parametrize("suffix", ["csv", "CSV", "jsonl", "parquet"])
def test_neighbours_among_the_rows_of_a_file_of_features(network, photographs, tmp_path, suffix, capsys):
    rows = [(str(photographs / "train" / "blue" / f"{n}.jpg"), [float(n)] * 8) for n in range(3)]
    rows += [("broken.jpg", None), ("gone.jpg", [9.0] * 8)]
    write_features(tmp_path / f"features.{suffix}", rows)
    nearest = neighbours.Nearest(np.full((1, 8), 1.9), 4)
    (found,) = neighbours.in_file(network, tmp_path / f"features.{suffix}", nearest)
    assert [photograph.name for _, photograph in found] == ["2.jpg", "1.jpg", "0.jpg", "gone.jpg"]
    assert found[0][0] == pytest.approx(0.1 * 8**0.5, abs=1e-5)
    assert (found[3][1].image == 200).all() and "gone.jpg: found no image there" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_files_are_found_by_what_is_written_of_their_names(network, photographs, tmp_path, suffix, capsys):
    names = ["=1+1", "'=1+1", "''@a", "+a", "-a", "@a", "'a", 'a, "b"', "a b", "a\tb\n", "é\x1b[31m", "\\x41", "a$b$"]
    names = [f"{name}.jpg" for name in names] + [os.fsdecode(b"\xff.jpg")]
    for name in names:
        (tmp_path / name).symlink_to(photographs / "train" / "blue" / "0.jpg")
    write_features(tmp_path / f"features.{suffix}", [(name, [float(n)]) for n, name in enumerate(names)])
    (found,) = neighbours.in_file(network, tmp_path / f"features.{suffix}", neighbours.Nearest(np.zeros((1, 1)), 99))
    assert [photograph.name for _, photograph in found] == names
    assert "found no image" not in capsys.readouterr().err


def test_the_figure_of_a_file_of_features_names_its_files(trained, network, photographs, tmp_path):
    write_features(tmp_path / "features.jsonl", [("train/blue/0.jpg", [0.0] * network.model.get_layer("fc7").size)])
    (tmp_path / "train").symlink_to(photographs / "train")
    query = (str(photographs / "val" / "red" / "1.jpg"),)
    request = request_for(trained, network, images=query, features_file=str(tmp_path / "features.jsonl"))
    assert {"1.jpg", "0.jpg", "Nearest features.jsonl"} <= set(drawn("neighbours", request))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("f.jsonl", '{"path": "a", "features": [1, 2]}\n', "2 features per image; expected"),
        ("f.jsonl", '{"path": "a"}\n', "found no column 'features'"),
        ("f.csv", "path,feature_0\n", "found no row with features"),
        ("f.csv", "path,valid,reason\na,true,\n", "found no column 'feature_0'"),
        ("f.csv", "path,feature_0\na,no number\n", "could not convert"),
        ("f.txt", "", "expected a .parquet, .csv or .jsonl file"),
        ("missing.csv", None, "No such file"),
    ],
)
def test_wrong_files_of_features_are_named(network, tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"^features_file=.*{message}"):
        neighbours.in_file(network, tmp_path / name, neighbours.Nearest(np.zeros((1, 8)), 3))


def test_confusions_and_mistakes_count_every_image(trained, network):
    (title,) = [text for text in drawn("confusion", request_for(trained, network)) if "images wrong" in text]
    assert " of 9 images wrong" in title
    wrong = int(title.split(": ")[1].split()[0])
    shown = drawn("errors", request_for(trained, network))
    assert "no mistakes" in shown if wrong == 0 else any(f"{wrong} mistakes in 9 images" in text for text in shown)
    with pytest.raises(ValueError, match=r"^images=a\.jpg: classes of files are unknown"):
        drawn("confusion", request_for(trained, network, images=("a.jpg",)))


def test_activations_curves_and_summary_of_a_run(trained, network):
    shown = drawn("activations", request_for(trained, network))
    assert any(text.startswith("conv5") for text in shown) and any("image of class" in text for text in shown)
    assert {"training", "validation"} <= set(drawn("curves", request_for(trained, network)))
    assert {"Predictions", "Learning curves"} <= set(drawn("summary", request_for(trained, network)))


def test_an_export_gives_the_figures_that_need_no_layers(trained, network):
    from keras_alexnet.visualize import scoring

    def classify(**files):
        images = files.get(wire.INPUT_BYTES, files.get(wire.INPUT_IMAGES))
        return {wire.OUTPUT_PROBABILITIES: np.full((len(images), 3), 1 / 3, np.float32)}

    def features(image_bytes):
        return {wire.OUTPUT_FEATURES: np.ones((len(image_bytes), 8), np.float32)}

    functions = dict.fromkeys((wire.SIGNATURE_CENTER, wire.SIGNATURE_IMAGES), classify)
    export = dataclasses.replace(network, model=None, signatures=functions | {wire.SIGNATURE_FEATURES: features})
    images = np.zeros((scoring.BATCH + 1, 256, 256, 3), np.uint8)
    assert scoring.features(export, None)(images).shape == (len(images), 8)
    assert scoring.probabilities(export, "ten")(images).shape == (len(images), 3)
    assert any("33 %" in text for text in drawn("predictions", request_for(trained, export)))
    for name in ("kernels", "activations", "architecture"):
        with pytest.raises(ValueError, match=r"^model=.*: is an export"):
            drawn(name, request_for(trained, export, images=(__file__,)))
    with pytest.raises(ValueError, match=r"^layer=fc6: .* is an export"):
        scoring.features(export, "fc6")


def test_curves_of_a_file_are_refused(trained, network, tmp_path):
    request = dataclasses.replace(request_for(trained, network), model=str(tmp_path))
    with pytest.raises(ValueError, match=r"found no metrics\.csv"):
        drawn("curves", request)
