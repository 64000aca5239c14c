import math

import pytest
import yaml

from keras_alexnet.saved_model.model_card import model_card_markdown

RATES = {"dataset": "/somewhere/photos", "split": "validation", "crops": "ten", "images": 400, "skipped": 0}
RATES |= {"top1_error": 0.2, "top5_error": 0.05, "loss": 0.7}
CARD = {
    "model": "alexnet_paper",
    "parameters": 1234567,
    "input_size": 224,
    "served": {"precision": "float32", "top_k": 5, "max_pixels": 10, "resize": "shorter_side"},
    "exported": "2025-01-01T00:00:00+00:00",
    "git_revision": None,
    "versions": {"keras": "3"},
}


def markdown(class_names=("cat", "dog"), **training) -> str:
    return model_card_markdown({**CARD, "training": training}, class_names)


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_header_is_what_the_hub_reads():
    text = markdown("abcdef", dataset="/somewhere/photos", error_rates=[RATES])
    found = header(text)
    assert "library_name" not in found and "license" in found and "image-classification" in found["tags"]
    (result,) = found["model-index"][0]["results"]
    assert result["dataset"]["name"] == "photos"
    assert [metric["value"] for metric in result["metrics"]] == [0.8, 0.95]


def test_the_best_five_of_five_classes_are_no_metric():
    (result,) = header(markdown("abcde", error_rates=[RATES]))["model-index"][0]["results"]
    assert [metric["name"] for metric in result["metrics"]] == ["top-1 accuracy, ten crops"]


def test_the_recipe_has_lists_and_options_but_not_what_was_not_set():
    unset = {"patience": None, "lr_multipliers": "", "class_weight_values": (), "layer_weight_decay": {}}
    text = markdown(step_epochs=["4", "6"], network_options={"depth": 20}, epochs=8, **unset)
    assert (
        "| `step_epochs` | 4, 6 |" in text and "| `network_options` | depth=20 |" in text and "| `epochs` | 8 |" in text
    )
    assert not any(name in text for name in unset)


def test_errors_have_their_standard_error_and_no_directory_is_named():
    text = markdown(dataset="/somewhere/photos", learning_rate=0.01, data_dir="/secret/tfds", error_rates=[RATES])
    assert f"20.00% ± {math.sqrt(0.2 * 0.8 / 400):.2%}" in text
    assert "| `learning_rate` | 0.01 |" in text
    assert "/home" not in text and "secret" not in text


def test_calibration_is_shown_if_it_was_measured():
    assert "## Calibration\n\nNot measured" in markdown(error_rates=[RATES])
    assert "| photos | validation | ten | 3.10% |" in markdown(error_rates=[RATES | {"calibration_error": 0.031}])


@pytest.mark.parametrize(
    "training, expected",
    [
        (
            {"init_from": "/x/bvlc_alexnet.caffemodel", "dataset": "d"},
            "Fine-tuned from `bvlc_alexnet.caffemodel`. Licence: unrestricted",
        ),
        (
            {"weights": "C:\\x\\alexnet-owt-7be5be79.pth"},
            "Weights of `alexnet-owt-7be5be79.pth`. Licence: BSD-3-Clause",
        ),
        ({"weights": "mine.keras"}, "Licence: unknown to this card"),
        ({"dataset": "photos"}, "Trained from random weights"),
        ({}, "weights and licence\n\nNot known to this card"),
    ],
)
def test_initial_weights_come_with_their_licence(training, expected):
    assert expected in markdown(**training)


def test_a_network_that_was_not_measured_says_so():
    text = markdown(["one"], error_rates=[RATES | {"top1_error": None}])
    assert "## Error\n\nNot measured" in text and "The error has not been measured" in text
    assert "model-index" not in header(text) and "into 1 class:" in text


def test_many_classes_are_named_in_part():
    assert "c19, and 980 more." in markdown([f"c{index}" for index in range(1000)])


@pytest.mark.medium
def test_an_export_contains_the_card(exported):
    text = (exported / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "saved-model" in header(text)["tags"] and "bêta" in text
