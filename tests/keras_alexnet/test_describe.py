import numpy as np
import pytest

from keras_alexnet import VARIANTS, AlexNet, networks
from keras_alexnet.classifier import parameters
from keras_alexnet.describe import _leaves, multiply_adds
from keras_alexnet.layers.locally_connected import LocallyConnected2D
from keras_alexnet.variants.differences import differences
from tests.helpers.commands import run_command


def described(*arguments: str) -> str:
    run = run_command("keras_alexnet.describe", *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_papers_network_is_described_with_its_published_sizes():
    output = described("--variant=paper")
    # Parameters and multiply-adds layer by layer, as counted by hand from layers-145.cfg.
    for numbers in (
        ("conv1", "55 x 55 x 48", "34,944", "105,415,200", "96 kernels 11 x 11, stride 4", "connectivity full"),
        ("conv2", "27 x 27 x 128", "307,456", "223,948,800", "padding 2", "connectivity grouped"),
        ("conv3", "13 x 13 x 192", "885,120", "149,520,384"),
        ("conv4", "13 x 13 x 192", "663,936", "112,140,288"),
        ("conv5", "13 x 13 x 128", "442,624", "74,760,192"),
        ("fc6", "2048", "37,752,832", "37,748,736"),
        ("fc7", "2048", "16,781,312", "16,777,216"),
        ("fc8", "1000", "4,097,000", "4,096,000"),
        ("total", "60,965,224", "724,406,816"),
    ):
        text = " ".join(output.split())
        assert all(number in text for number in numbers), numbers
        assert any(all(number in line for number in numbers[:4]) for line in output.splitlines()), numbers
    assert "departures of paper from source2012" in output and "paper, section 3.3" in output


def test_every_name_is_listed_with_its_size_and_options():
    lines = {line.split("│")[1].strip(): line for line in described("--list").splitlines() if line.startswith("│")}
    assert set(networks.names()) <= set(lines)
    assert " 299 " in lines["inception_v4"] and "width, dropout, drop_path" in lines["fractalnet_20"]
    assert "as printed in the NIPS 2012 paper" in lines["paper"]


def test_any_network_is_described_layer_by_layer():
    name = "keras.applications.MobileNet"
    output = described(f"--network={name}", "--classes=7")
    model = networks.create(name, 7)
    assert f"{model.count_params():,}" in output and f"{multiply_adds(model):,}" in output
    # 3 x 3 x 3 kernels, 32 filters, 112 x 112 positions; then one 3 x 3 kernel per channel.
    assert any(all(word in line for word in ("conv1", "864", "10,838,016")) for line in output.splitlines())
    assert any(all(word in line for word in ("conv_dw_1", "288", "3,612,672")) for line in output.splitlines())
    # MobileNet, table 8: 569 million multiply-adds with 1000 classes.
    assert multiply_adds(model) + 993 * 1024 == pytest.approx(569e6, rel=0.01)


def test_a_network_is_described_with_its_options():
    given = ["--width=0.25", "--image_size=24", "--network_options=survival=0.5", "--classes=3"]
    output = described("--network=resnet_20", *given)
    model = networks.create("resnet_20", 3, image_size=24, width=0.25, survival=0.5)
    assert "trainable" in output and f"{parameters(model):,}" in output and parameters(model) < model.count_params()
    assert "24 x 24 pixels, 3 classes" in output and "StochasticDepth" in output
    assert f"{model.count_params():,}" in output and f"{multiply_adds(model):,}" in output
    assert "67 x 67 pixels" in described("--network=zfnet", "--image_size=67", "--init=he", "--width=0.05")


@pytest.mark.parametrize("arguments", [["--diff", "paper", "source2012"], ["--diff=paper,source2012"]])
def test_two_variants_are_compared(arguments):
    output = described(*arguments)
    assert "relu1, lrn1, pool1" in output and "lrn1, pool1, relu1" in output
    assert "rnorm2" in output and "weights.cu" in output and "fc6" not in output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--diff", "paper"], "--diff=paper: expected two of paper, source2012"),
        (["--diff", "paper", "lenet"], "--diff=paper,lenet: expected two of"),
        (["paper"], "unexpected argument 'paper'"),
        (["--variant=lenet"], "--network=lenet: expected one of paper"),
        (["--network=keras.applications.MobileNet", "--width=0.5"], "--width=0.5: "),
        (["--network=keras.applications.MobileNet", "--init=he"], "--init='he': "),
        (["--network=resnet_20", "--network_options=depth"], "--network_options=depth: expected name=value"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, message):
    run = run_command("keras_alexnet.describe", *arguments)
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith(f"error: {message}") and run.stderr.count("\n") == 1


def test_every_difference_has_a_source():
    for variant in VARIANTS.values():
        for subject, *_ in differences(variant, VARIANTS["paper"]):
            assert variant.source(subject)


def test_a_variant_does_not_differ_from_itself():
    for variant in VARIANTS.values():
        assert not differences(variant, variant)


def test_multiply_adds_of_a_narrow_network_are_those_of_its_kernels():
    model = AlexNet("torchvision", width=1 / 8, classes=10)
    assert multiply_adds(model.get_layer("conv1")) == 55 * 55 * (11 * 11 * 3) * 8
    assert multiply_adds(model.get_layer("fc6")) == 6 * 6 * 32 * 512
    assert multiply_adds(model.get_layer("relu1")) == 0


def test_a_locally_connected_layer_has_a_kernel_for_each_position():
    layer = LocallyConnected2D(5, 3, padding="valid")
    layer(np.zeros((1, 8, 6, 2)))
    assert multiply_adds(layer) == (6 * 4) * (3 * 3 * 2) * 5


def test_embeddings_of_a_vision_transformer_are_not_multiplied():
    """Those of positions and of the class token are added. The patches' kernel counts at the class token too."""
    pytest.importorskip("keras_hub")
    sizes = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    model = networks.create("keras_hub.ViTImageClassifier", 3, image_size=32, **sizes)
    (patches,) = (layer for layer in _leaves(model) if type(layer).__name__ == "ViTPatchingAndEmbedding")
    assert multiply_adds(patches) == (8 * 8 * 3 * 8) * (4 * 4 + 1)
