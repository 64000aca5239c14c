"""Several networks as one SavedModel that averages their probabilities."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from keras_alexnet import AlexNet, export_average
from keras_alexnet.pretrained import LoadedNetwork, check_average, load_network, shared_training
from keras_alexnet.saved_model.average import AveragedNetwork, average_card
from keras_alexnet.saved_model.model_card import model_card_markdown
from keras_alexnet.saved_model.served_signatures import serving_network
from keras_alexnet.ten_crop import crop_probabilities
from pipelines.images.crops import center_crop
from serving import signatures as wire
from tests.helpers.commands import run_command
from tests.helpers.image_files import encode, photograph

NAMES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[LoadedNetwork]:
    """Two AlexNets of different widths, as `.keras` files."""
    folder, loaded = tmp_path_factory.mktemp("networks"), []
    for seed, width in enumerate((1 / 16, 1 / 32)):
        keras.utils.set_random_seed(seed)
        model = AlexNet(classes=3, width=width, init="he", mean=[90.0, 100.0, 110.0], name=f"net_{seed}")
        model.save(folder / f"{seed}.keras")
        training = {"seed": seed, "learning_rate": 0.01, "dataset": "/somewhere/photos", "init_from": f"{seed}.npy"}
        own = {"class_names": NAMES, "display_names": NAMES, "training": training}
        loaded.append(dataclasses.replace(load_network(folder / f"{seed}.keras"), **own))
    return loaded


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3)).astype(np.uint8)


def expected(network: LoadedNetwork, images: np.ndarray, crops: str) -> np.ndarray:
    options = {"from_logits": network.from_logits, "preprocessing": network.preprocessing}
    return crop_probabilities(network.model, images, crops, **options).numpy()


@pytest.mark.numeric
@pytest.mark.slow
def test_the_command_exports_the_average(networks, images, tmp_path, unchecked):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    arguments = [*(f"--model={network.source}" for network in networks), f"--class_names={tmp_path / 'names.txt'}"]
    run = run_command("keras_alexnet.export", *arguments, f"--export_base={tmp_path / 'average'}")
    assert run.returncode == 0 and "match the average of the 2 Keras models" in run.stdout, run.stderr
    version = tmp_path / "average" / "1"
    assert (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 1000
    exported = load_network(version.parent)
    assert exported.class_names == NAMES and set(exported.signatures) == {
        *(wire.SIGNATURE_TEN_CROP, wire.SIGNATURE_CENTER, wire.SIGNATURE_IMAGES, wire.SIGNATURE_FEATURES)
    }
    mean = np.mean([expected(network, images, "ten") for network in networks], 0)
    found = exported.signatures[wire.SIGNATURE_IMAGES](images=tf.constant(images))
    assert np.ptp(mean) > 0.01, "equal probabilities would hide errors"
    np.testing.assert_allclose(found[wire.OUTPUT_PROBABILITIES], mean, atol=1e-6)
    files = tf.constant([encode(photograph()), b"no image"])
    features = exported.signatures[wire.SIGNATURE_FEATURES](image_bytes=files)
    assert features["features"].shape == (2, 256 + 128) and features["valid"].numpy().tolist() == [True, False]


@pytest.mark.numeric
@pytest.mark.medium
def test_each_network_has_its_own_crops_preprocessing_and_outputs(networks, images):
    keras.utils.set_random_seed(5)
    layers = [keras.Input((64, 64, 3)), keras.layers.AveragePooling2D(16), keras.layers.Flatten()]
    other = LoadedNetwork("other", keras.Sequential([*layers, keras.layers.Dense(3)]), True, "tf", class_names=NAMES)
    both = [networks[0], other]
    check_average(both)
    parts = [serving_network(each, "float32") for each in both]
    average = AveragedNetwork(parts)
    assert len(average.variables) == sum(len(part.variables) for part in parts)
    for crops, found in (
        ("ten", average.ten_crop(images)),
        ("center", average.center_crop_and_features(images)[0]),
    ):
        mean = np.mean([expected(network, images, crops) for network in both], 0)
        np.testing.assert_allclose(found, mean, atol=1e-6)
    _, features = average.center_crop_and_features(images)
    pooled = keras.Sequential(layers)(center_crop(images, 64) / 127.5 - 1)
    assert features.shape == (3, 256 + 48)
    np.testing.assert_allclose(features[:, 256:], pooled, atol=1e-5)


@pytest.mark.slow
def test_the_model_card_names_every_network(networks, tmp_path, unchecked):
    path = export_average(networks, tmp_path / "average", version=7, top_k=2)
    card = json.loads((tmp_path / "average" / "7" / "assets.extra" / "model_card.json").read_text())
    assert [part["model"] for part in card["networks"]] == ["net_0", "net_1"]
    assert card["parameters"] == sum(network.model.count_params() for network in networks)
    assert card["training"] == {"learning_rate": 0.01, "dataset": "/somewhere/photos"}
    assert card["served"]["top_k"] == 2
    with open(f"{path}/assets.extra/README.md", encoding="utf-8") as file:
        text = file.read()
    assert "saved-model" in yaml.safe_load(text.split("---\n")[1])["tags"]
    assert "| net_0 | `0.keras` | " in text and "| net_1 | `1.keras` | " in text
    assert "| seed 0 | not measured |" in text and "| seed 1 | not measured |" in text
    assert "Fine-tuned from `0.npy`" in text and "Fine-tuned from `1.npy`" in text
    assert text.count("Trained on `photos`") == 1 and "/somewhere" not in text
    # It is evaluated like any export, on the dataset that its networks share.
    assert load_network(path).training["dataset"] == "/somewhere/photos"
    with pytest.raises(ValueError, match=r"^model=.*: is an export already"):
        export_average([networks[0], load_network(path)], tmp_path / "average")


def test_the_model_card_has_the_error_of_the_average(networks):
    rates = {"dataset": "photos", "split": "validation", "crops": "ten", "images": 400, "top1_error": 0.125}
    rates |= {"top5_error": 0.0, "loss": 0.5, "calibration_error": 0.031}
    served = {"precision": "float32", "top_k": 2, "max_pixels": 10, "resize": "shorter_side"}
    without, measured = average_card(networks, served), average_card(networks, served, [rates])
    assert "Not measured; those of the single networks are above" in model_card_markdown(without, NAMES)
    text = model_card_markdown(measured, NAMES)
    assert "| 12.50% ± " in text and "| photos | validation | ten | 3.10% |" in text


@pytest.mark.parametrize(
    "change, says",
    [
        ({"class_names": ("ant", "cat", "bee")}, "model=b: class 1 is 'cat'; expected 'bee', as a"),
        ({"class_names": ("ant", "bee")}, "model=b: has 2 classes; expected 3, as a"),
        ({"class_names": ()}, "model=b: has 0 classes; expected 3, as a"),
        ({"resize": "warp"}, "model=b: resize policy: found warp; expected shorter_side, as a"),
        ({"resized_size": 32}, "model=b: resized images: found 32 pixels; expected 256 pixels, as a"),
    ],
)
def test_networks_that_cannot_be_averaged_are_refused(change, says):
    first = LoadedNetwork("a", class_names=NAMES)
    with pytest.raises(ValueError) as error:
        check_average([first, dataclasses.replace(first, source="b", **change)])
    assert str(error.value) == says


def test_a_network_without_class_names_is_not_taken_for_one_with(networks):
    nameless = dataclasses.replace(networks[1], class_names=(), source="b")
    for pair in ((networks[0], nameless), (nameless, networks[0])):
        with pytest.raises(ValueError, match=r"^class_names is missing: b does not contain them"):
            check_average(pair)
    check_average([nameless, nameless])
    with pytest.raises(ValueError, match=r"^model is missing"):
        check_average([])


def test_shared_facts_are_those_in_which_all_agree():
    networks = [
        LoadedNetwork("a", training={"seed": 0, "width": 1.0, "error_rates": [], "dataset": "x"}),
        LoadedNetwork("b", training={"seed": 1, "width": 1.0, "error_rates": []}),
    ]
    assert shared_training(networks) == {"width": 1.0}


def test_onnx_has_one_network(networks, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    arguments = [*(f"--model={network.source}" for network in networks), f"--class_names={tmp_path / 'names.txt'}"]
    run = run_command("keras_alexnet.export", *arguments, f"--export_base={tmp_path / 'base'}", "--format=onnx")
    assert run.returncode == 1 and "--format=onnx: exports one model; found 2" in run.stderr
    assert run.stderr.count("\n") == 1 and not (tmp_path / "base").exists()
