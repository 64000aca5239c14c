"""Networks under equal conditions."""

import sys
from pathlib import Path

import keras
import pytest

from keras_alexnet.experiments import comparison, costs
from keras_alexnet.experiments.results import read_results
from tests.helpers.small_network import NAME

RESULTS = Path(__file__).parents[3] / "docs" / "results"


def entry(text):
    return comparison.parse_entry(text)


def test_all_networks_have_the_same_flags_but_their_learning_rate_and_crops():
    experiment = comparison.comparison(["resnet_20", "paper"], "cifar10", 20)
    resnet, paper = experiment.runs
    assert experiment.flags == ("--batch_size=128", "--schedule=step", "--step_epochs=10,15", "--epochs=20")
    assert resnet.flags == ("--network=resnet_20", "--learning_rate=0.1", "--augmentation=pad4")
    assert paper.flags == ("--network=paper", "--learning_rate=0.01", "--augmentation=crop")
    assert experiment.image_size == 256


@pytest.mark.parametrize(
    "name, augmentation, size",
    [
        (f"{__name__}:tiny", "pad4", 32),
        ("keras.applications.MobileNet+image_size=32", "pad4", 32),
        ("convnet_11pct", "crop", 32),  # the crops of its authors
        ("keras.applications.MobileNet+image_size=128", "crop", 146),
    ],
)
def test_images_of_cifars_size_are_taken_whole(name, augmentation, size):
    assert entry(name).prepared_size == size
    assert entry(name).takes_whole_images == (augmentation == "pad4")
    (run,) = comparison.comparison([name], "cifar10", 1).runs
    assert f"--augmentation={augmentation}" in run.flags


def tiny(classes, image_size=32, classifier_activation="softmax"):
    """A user's network."""
    layers = (keras.layers.Input((image_size, image_size, 3)), keras.layers.GlobalMaxPooling2D())
    return keras.Sequential([*layers, keras.layers.Dense(classes, activation=classifier_activation)])


def thousand(classes, image_size=32, classifier_activation="softmax"):
    """A user's network that ignores the number of classes."""
    return tiny(1000, image_size, classifier_activation)


def any_size(classes, image_size=32, classifier_activation="softmax"):
    """A user's network for images of any size."""
    return tiny(classes, None, classifier_activation)


def test_learning_rates_of_single_networks_can_be_chosen():
    (run,) = comparison.comparison(["resnet_20"], "cifar10", 1, {"resnet_20": 0.05}).runs
    assert "--learning_rate=0.05" in run.flags


@pytest.mark.parametrize(
    "name, rate",
    [("convnet_11pct", 0.001), ("nin+width=0.1", 0.01), ("squeezenet_cifar", 0.1), ("wrn_16_2+width=0.5", 0.1)],
)
def test_the_learning_rate_is_lower_without_batch_normalization(name, rate):
    assert comparison.default_learning_rate(entry(name)) == rate


def test_a_function_of_the_user_is_searched_for_batch_normalization():
    assert comparison.default_learning_rate(entry(NAME)) == 0.01
    assert comparison.default_learning_rate(entry(f"{NAME}+normalized=True")) == 0.1


def test_a_network_that_needs_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub.models", None)
    with pytest.raises(ValueError, match="networks=resnet_18: network=resnet_18: needs keras-hub"):
        comparison.comparison(["resnet_20", "resnet_18"], "cifar10", 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["comparison_cifar10", "comparison_imagenette"])
def test_the_committed_rows_are_those_of_todays_commands(name):
    networks = {row.run: row.network for row in costs.read_costs(RESULTS, name).values()}
    for row in read_results(RESULTS, name):
        network = networks[row.run]
        if network.startswith("resnet_18"):
            continue  # needs keras-hub
        experiment = comparison.comparison([network], name, row.epochs)
        words = row.command.split()
        assert {*experiment.flags, *experiment.runs[0].flags} <= set(words), network


@pytest.mark.parametrize("epochs, steps", [(300, "150,225"), (4, "2,3"), (1, "1")])
def test_the_rate_is_divided_at_a_half_and_at_three_quarters(epochs, steps):
    assert f"--step_epochs={steps}" in comparison.comparison(["resnet_20"], "cifar10", epochs).flags


@pytest.mark.parametrize(
    "names, rates, says",
    [
        (["resnet_21"], {}, "network=resnet_21: expected one of"),
        ([], {}, "networks=: expected different networks"),
        (["paper", "paper"], {}, "networks=paper,paper: expected different networks"),
        (["paper+cutout=9+width=0.5", "paper+width=0.5+cutout=9"], {}, "expected different networks"),
        (["paper", ""], {}, "networks=paper,: found an empty name"),
        (["paper+learning_rate=0.1"], {}, r"networks=paper\+learning_rate=0.1: .*expected learning_rates=paper=0.1"),
        ([f"{__name__}:thousand"], {}, r"its output has shape \(None, 1000\); expected \(None, 7\)"),
        ([f"{__name__}:any_size"], {}, r"its input has shape \(None, None, None, 3\); expected one of \(None, size"),
        (["paper"], {"resnet_20": 1.0}, "learning_rates=resnet_20: expected some of paper"),
        (["resnet_20+depth=3"], {}, r"depth=3: expected name=value with .* option of resnet_20 \(width, survival"),
        (["resnet_20+epochs=3"], {}, "epochs=3: expected name=value"),
        (["resnet_20+cutout"], {}, "cutout: expected name=value"),
        (["lenet5+width=0.5"], {}, "width=0.5: expected name=value"),
        (["paper+mean=3"], {}, "mean=3: expected name=value"),
        (["resnet_20+cutout=wide"], {}, r"networks=resnet_20\+cutout=wide: flag --cutout=wide: .*int"),
        (["resnet_20+survival=2"], {}, r"networks=resnet_20\+survival=2: survival=2: expected"),
    ],
)
def test_what_cannot_be_compared_is_named(names, rates, says):
    with pytest.raises(ValueError, match=says):
        comparison.comparison(names, "cifar10", 1, rates)


def test_changes_of_a_network_are_options_of_it_or_flags_of_training():
    (run,) = comparison.comparison(["resnet_20+survival=0.5+cutout=16+width=0.25"], "cifar10", 4).runs
    assert run.name == "resnet_20_survival_0_5_cutout_16_width_0_25"
    expected = {"--network=resnet_20", "--network_options=survival=0.5", "--cutout=16", "--width=0.25"}
    assert expected <= set(run.flags)
    assert entry("resnet_20+survival=0.5+cutout=16+width=0.25").built_with == {"survival": 0.5, "width": 0.25}
    assert entry("resnet_20+image_size=24").image_size == 24


def test_names_become_file_names():
    assert entry("keras.applications.ResNet50").run_name == "keras_applications_ResNet50"
    long = ["resnet_20" + "+width=0.5" * repeats for repeats in (20, 30)]
    assert len({entry(text).run_name for text in long}) == 2
    assert all(len(entry(text).run_name) == 100 for text in long)


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("cifar10", "cifar10"),
        ("cifar10:3.0.2", "cifar10"),
        ("imagenette/full-size-v2:1.0.0", "imagenette"),
        ("folder:my/pets", "pets"),
        ("ilsvrc:/data/in", "in"),
        ("/a/b-c", "b_c"),
    ],
)
def test_rows_of_datasets_are_in_different_files(dataset, name):
    assert comparison.comparison_name(dataset) == f"comparison_{name}"


def test_a_figure_has_a_panel_for_each_cost():
    pytest.importorskip("matplotlib")
    from keras_alexnet import plots

    errors, values = {"a": 0.2, "b": 0.1}, {"a": 10, "b": 200}
    figure = plots.comparison_figure(errors, {"parameters": values, "size (MB)": values, "time": values})
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[:3] == ["parameters", "size (MB)", "time"]
    with pytest.raises(ValueError, match="at least one network"):
        plots.comparison_figure({}, {})
