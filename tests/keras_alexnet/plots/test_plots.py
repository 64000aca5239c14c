import numpy as np
import pytest

from keras_alexnet import plots
from keras_alexnet.plots import style
from keras_alexnet.plots.architecture import stages
from keras_alexnet.plots.confusion import confusion_image
from keras_alexnet.plots.curves import epoch_of_error
from keras_alexnet.plots.kernels import kernel_tiles
from keras_alexnet.plots.style import mosaic, percent, shortened

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("error")

RANDOM = np.random.default_rng(0)
LONG = "a class with $dollars$, {braces} and a name that is far too long for any figure"


def image() -> np.ndarray:
    return RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def texts(figure) -> list[str]:
    """Every text of a figure, after it was drawn completely."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_grey_kernels_have_no_colour_and_noise_has_two_thirds():
    grey = np.repeat(RANDOM.normal(size=(5, 5, 1, 8)), 3, axis=2)
    opponent = grey * np.array([1, -1, 0]).reshape(1, 1, 3, 1)
    assert plots.color_share(grey) == pytest.approx(0)
    assert plots.color_share(opponent) == pytest.approx(1)
    assert plots.color_share(RANDOM.normal(size=(11, 11, 3, 96))) == pytest.approx(2 / 3, abs=0.02)
    assert plots.color_share(np.concatenate([grey, 0 * grey], -1)) == pytest.approx(0)
    assert np.isnan(plots.color_share(np.zeros((3, 3, 3, 2))))


def test_kernel_tiles_are_grey_at_zero_and_reach_one_end_of_the_scale():
    tiles = kernel_tiles(RANDOM.normal(size=(3, 3, 3, 5)) * 100)
    assert tiles.shape == (5, 3, 3, 3) and np.allclose(np.abs(tiles - 0.5).max((1, 2, 3)), 0.5)
    assert (kernel_tiles(np.zeros((3, 3, 1, 2))) == 0.5).all()
    with pytest.raises(ValueError, match=r"expected .*3 or 1"):
        kernel_tiles(np.zeros((3, 3, 64, 2)))


def test_a_mosaic_has_gaps_between_its_tiles():
    tiles = np.arange(3.0).reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1))
    expected = [[0, 0, 9, 1, 1], [0, 0, 9, 1, 1], [9, 9, 9, 9, 9], [2, 2, 9, 9, 9], [2, 2, 9, 9, 9]]
    assert mosaic(tiles, 2, gap=1, background=9)[..., 0].tolist() == expected


def test_confusions_are_counted_by_true_class_and_prediction():
    assert plots.confusion_counts([0, 0, 2], [0, 1, 0], 3).tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_a_confusion_image_is_white_for_none_and_dark_for_all():
    pixels = confusion_image(np.array([[4, 0], [1, 3]]))
    assert pixels.shape == (200, 200, 3) and (pixels[:100, 100:] == 1).all()
    assert pixels[0, 0].max() < pixels[150, 150].max() < pixels[150, 0].max() < 1


@pytest.mark.parametrize(
    "fraction, text",
    [(0, "0 %"), (0.0004, "<0.1 %"), (0.004, "0.4 %"), (0.5, "50 %"), (0.9999, "99.9 %"), (1, "100 %")],
)
def test_percentages_round_neither_to_nothing_nor_to_certainty(fraction, text):
    assert percent(fraction) == text


def test_long_names_are_shortened():
    assert shortened("a  b\nc", 9) == "a b c" and shortened("abcdefgh", 5) == "abcd…"


@pytest.mark.parametrize("classes, names", [(1, [LONG]), (3, ["a", LONG, "c"]), (1000, [str(n) for n in range(1000)])])
def test_figures_of_classes_are_drawn_for_any_number_of_classes(classes, names):
    probabilities = RANDOM.dirichlet(np.ones(classes), 2)
    shown = texts(plots.predictions_figure([image(), image()], probabilities, names, [0, None], ["", "file.jpg"]))
    assert "file.jpg" in shown and shortened(names[0], 28) in shown
    counts = plots.confusion_counts(np.zeros(4, int), np.arange(4) % classes, classes)
    wrong = 4 - int(counts[0, 0])
    assert any(f"{wrong} of 4 images wrong" in text for text in texts(plots.confusion_figure(counts, names)))
    texts(plots.mistakes_figure([image()], probabilities[:1], [0], names))


@pytest.mark.parametrize("name", ["W" * 42, "a class with a name of forty-two characters"])
def test_long_names_of_confusions_lie_inside_the_figure(name):
    figure = plots.confusion_figure(np.array([[1, 900], [2, 1]]), [name, f"the other, {name}"])
    figure.draw_without_rendering()
    matrix, listing = figure.axes[:2]
    for text in (*figure.texts, *matrix.get_xticklabels(), *matrix.get_yticklabels(), listing.title, *listing.texts):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


def test_class_names_in_other_scripts_have_the_installed_fonts(monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.get_font_names", lambda: ["Arial", "IPAexGothic", "DejaVu Sans"])
    style._font_families.cache_clear()
    try:
        figure = plots.confusion_figure(np.eye(2, dtype=int), ["猫", "dog"])
    finally:
        style._font_families.cache_clear()
    label = figure.axes[0].get_yticklabels()[0]
    assert label.get_text() == "猫" and label.get_fontfamily() == ["DejaVu Sans", "IPAexGothic"]


def test_no_mistakes_are_no_error():
    assert "no mistakes" in texts(plots.mistakes_figure([], np.zeros((0, 2)), [], ["a", "b"]))


def test_captions_lie_inside_narrow_figures():
    names = ["a", "b"]
    figure = plots.mistakes_figure([image()], np.array([[0.9, 0.1]]), [1], names, caption="1 of 12 validation images")
    (caption,) = (text for text in figure.findobj(matplotlib.text.Text) if text.get_text().startswith("1 of"))
    assert caption.get_text().count("\n") == 1
    figure.draw_without_rendering()
    assert caption.get_window_extent().x1 <= figure.bbox.x1


def test_wrong_numbers_of_names_and_missing_data_are_named():
    with pytest.raises(ValueError, match=r"^class_names: found 1; expected 2"):
        plots.predictions_figure([image()], np.ones((1, 2)) / 2, ["a"])
    with pytest.raises(ValueError, match=r"^images: found none"):
        plots.predictions_figure([], np.ones((0, 1)), ["a"])
    with pytest.raises(ValueError, match=r"^runs: found no finished epoch"):
        plots.learning_curves_figure({"a": []})


def test_kernels_are_drawn_by_tower_with_their_colour():
    grey = np.repeat(RANDOM.normal(size=(11, 11, 1, 48)), 3, axis=2)
    shown = texts(plots.kernels_figure([RANDOM.normal(size=(11, 11, 3, 48)), grey]))
    assert any(text.startswith("tower 1: 48 kernels, 11 × 11 × 3 · colour 6") for text in shown)
    assert any(text.startswith("tower 2: 48 kernels, 11 × 11 × 3 · colour 0 %") for text in shown)
    assert not any("tower" in text for text in texts(plots.kernels_figure([grey])))


def curve(*rates: float) -> list[dict[str, float]]:
    return [
        {"epoch": float(n), "loss": 1 / n, "val_loss": 2 / n, "learning_rate": rate} for n, rate in enumerate(rates, 1)
    ]


def test_few_kernels_are_drawn_small():
    figure = plots.kernels_figure([RANDOM.normal(size=(11, 11, 3, 2))] * 2)
    figure.draw_without_rendering()
    assert figure.get_figheight() < 3
    assert all(axes.get_window_extent().width < 2 * 0.63 * figure.dpi for axes in figure.axes)


def test_curves_mark_where_the_learning_rate_drops():
    shown = texts(plots.learning_curves_figure({"run": curve(0.1, 0.1, 0.01, 0.01, 0.01)}))
    assert "learning rate 0.01" in shown and {"training", "validation", "cross-entropy"} <= set(shown)
    assert "top-1 error (%)" not in shown
    assert {"0.01", "0.001"} <= set(texts(plots.learning_curves_figure({"run": curve(0.1, 0.1, 0.01, 0.01, 0.001)})))


@pytest.mark.parametrize(
    "rates", [0.005 * (1 + np.cos(np.linspace(0, np.pi, 24))), 0.1 ** np.arange(6.0), [0.1, 0.01], [0.1, 0.07, 0.07]]
)
def test_gradual_schedules_have_no_marks(rates):
    figure = plots.learning_curves_figure({"run": curve(*rates)})
    assert not [text for axes in figure.axes for text in axes.texts]


def test_several_runs_share_a_legend_of_full_names():
    names = ["convnet_11pct (LRN and a wider layer)", "b"]
    shown = texts(plots.learning_curves_figure({names[0]: curve(0.1, 0.1, 0.1), names[1]: curve(0.1)}))
    assert [shown.count(name) for name in names] == [1, 1] and {"training", "validation"} <= set(shown)
    assert "range of seeds" not in shown


def test_of_many_runs_the_validation_alone_is_drawn():
    runs = {str(number): curve(0.1, 0.1, 0.1) for number in range(5)}
    shown = texts(plots.learning_curves_figure(runs))
    assert "validation" in shown and "training" not in shown
    unvalidated = {name: [{"epoch": 1, "loss": 1.0}] for name in runs}
    assert "training" in texts(plots.learning_curves_figure(unvalidated))


def test_seeds_are_drawn_as_their_mean_and_range():
    lower = [row | {"loss": row["loss"] / 2} for row in curve(0.1, 0.1, 0.1)]
    figure = plots.learning_curves_figure({"a": [curve(0.1, 0.1, 0.1, 0.1), lower]})
    assert "range of seeds" in texts(figure)
    (axes,) = figure.axes
    assert np.allclose(axes.lines[0].get_xydata(), [[n, 0.75 / n] for n in (1, 2, 3)])
    assert np.allclose(axes.collections[0].get_datalim(axes.transData).extents, [1, 0.5 / 3, 3, 1])


def test_the_training_error_shows_where_the_target_is_reached():
    fast, slow = ([{"epoch": n, "top1_error": 0.8 / n / k, "val_top1_error": 1.0} for n in (1, 2, 3)] for k in (1, 0.5))
    figure = plots.training_error_figure({"ReLU": [fast, fast], "tanh": slow}, 0.3)
    shown = texts(figure)
    assert {"ReLU", "tanh", "30 %", "epoch 2.8", "training error rate (%)", "range of seeds"} <= set(shown)
    assert sum(text.startswith("epoch ") for text in shown) == 1 and "cross-entropy" not in shown
    first, second = (line for line in figure.axes[0].lines if line.get_label() in ("ReLU", "tanh"))
    assert first.get_linestyle() == "-" and second.get_linestyle() == "--"


def test_neighbours_and_activations_are_drawn():
    query, other = plots.Picture(image(), "cat", label=0), plots.Picture(image(), "dog", 1.25, label=1)
    shown = texts(plots.neighbours_figure([query, query], [[other, query], [other]]))
    assert "1.25" in shown and "dog" in shown
    maps = {"conv1": RANDOM.normal(size=(5, 5, 40)), "fc6": -np.ones(300)}
    shown = texts(plots.activations_figure(image(), maps))
    assert any("12 strongest of 40 maps" in text for text in shown)
    assert any("300 units; 0% active" in text for text in shown)


def test_a_summary_has_all_three_parts():
    predictions = {"images": [image()], "probabilities": np.ones((1, 1)), "class_names": ["a"]}
    shown = texts(
        plots.summary_figure(
            [RANDOM.normal(size=(3, 3, 3, 4))], predictions, {"": [{"epoch": 1.0, "loss": 2.0}]}, "net"
        )
    )
    assert {"net", "Predictions", "Learning curves", "Kernels of the first convolution"} <= set(shown)


def test_an_architecture_is_drawn_with_its_shapes():
    block = plots.Block
    blocks = [block("image", (224, 224, 3)), block("conv1", (55, 55, 48), 2, (11, 11), 4, after="max pooling")]
    blocks += [
        block("conv2", (27, 27, 128), 2, (5, 5), connectivity="grouped"),
        block("fc6", (2048,), 2),
        block("fc8", (10,)),
    ]
    shown = texts(plots.architecture_figure(blocks, "AlexNet"))
    assert shown.count("55 × 55 × 48") == 2 and shown.count("2048") == 2 and shown.count("10") == 1
    assert "11 × 11, stride 4\nmax pooling" in shown and "tower 2" in shown


def test_deep_networks_are_drawn_by_stages_in_spite_of_squeeze_and_excitation():
    block = plots.Block
    layers = []
    for side in (56, 28):
        for _ in range(4):
            conv = block("conv", (side, side, 8), kernel=(3, 3))
            layers += [conv, block("squeeze", (1, 1, 8), kernel=(1, 1)), conv]
    drawn = stages(
        [block("image", (112, 112, 3)), *layers, block("last", (28, 28, 64), kernel=(1, 1)), block("fc", (10,))]
    )
    assert [(each.name, each.shape) for each in drawn] == [
        ("image", (112, 112, 3)),
        ("12 layers", (56, 56, 8)),
        ("13 layers", (28, 28, 64)),
        ("fc", (10,)),
    ]
    few = [block("image", (8, 8, 3)), block("a", (8, 8, 4)), block("b", (8, 8, 4))]
    assert stages(few) == few


def test_figures_change_no_setting_of_the_process():
    before = dict(matplotlib.rcParams)
    plots.kernels_figure([RANDOM.normal(size=(3, 3, 3, 4))])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("errors", "expected"), [((0.5, 0.3, 0.2), 2.5), ((0.25, 0.1, 0.1), 1.0), ((0.9, 0.8, 0.7), None)]
)
def test_the_epoch_of_an_error_is_interpolated(errors, expected):
    curve = [{"epoch": epoch, "top1_error": error} for epoch, error in enumerate(errors, 1)]
    found = epoch_of_error(curve, 0.25)
    assert found == (expected if expected is None else pytest.approx(expected))
