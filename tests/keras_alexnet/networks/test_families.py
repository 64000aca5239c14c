"""Networks with branches: parameters, order of the layers, shapes, auxiliary outputs."""

import sys

import keras
import numpy as np
import pytest

from keras_alexnet import networks
from keras_alexnet.layers import DropPathJoin
from tests.helpers.layer_order import before, path_to, word
from tests.helpers.parameters import trainable

# The sizes that need seconds are counted in `make test-all`.
PARAMETERS = {
    ("squeezenet", 1000): 1_248_424,
    ("squeezenet_v1_1", 1000): 1_235_496,
    ("squeezenet_cifar", 10): 735_626,
    ("lenet5", 10): 60_000,
    ("densenet_40_12", 10): 1_019_722,
}
LARGE_PARAMETERS = {
    ("googlenet", 1000): 6_998_552,
    ("googlenet_cifar", 10): 5_871_914,
    ("fractalnet_20", 10): 33_724_618,
    ("inception_v4", 1000): 42_679_816,
    ("densenet_bc_100_12", 10): 769_162,
    ("densenet_bc_190_40", 10): 25_624_430,
    ("survey_densenet", 10): 3_638_322,
    ("survey_densenet", 100): 3_714_372,
}


@pytest.mark.medium
@pytest.mark.parametrize(("name", "classes"), PARAMETERS)
def test_parameters(name, classes):
    assert trainable(networks.create(name, classes)) == PARAMETERS[name, classes]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes"), LARGE_PARAMETERS)
def test_parameters_of_large_networks(name, classes):
    assert trainable(networks.create(name, classes)) == LARGE_PARAMETERS[name, classes]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("resnet_18", 11_689_512), ("resnet_34", 21_797_672)])
def test_parameters_of_keras_hubs_networks(name, count):
    pytest.importorskip("keras_hub")
    assert trainable(networks.create(name)) == count


def test_keras_hub_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub.models", None)
    with pytest.raises(ValueError, match=r"^network=resnet_18: needs keras-hub: pip install 'keras-alexnet\[hub\]'$"):
        networks.create("resnet_18")


def sides(model: keras.Model, *names: str) -> list[int]:
    return [model.get_layer(name).output.shape[1] for name in names]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("squeezenet", 227, [111, 55, 27, 13]),
        ("squeezenet", 224, [109, 54, 27, 13]),
        ("squeezenet_v1_1", 227, [113, 56, 28, 14]),
        ("squeezenet_v1_1", 224, [111, 55, 27, 13]),
    ],
)
def test_sides_of_squeezenets_maps(name, size, expected):
    model = networks.create(name, 3, size, width=1 / 16)
    pools = ("pool1", "pool4", "pool8") if name == "squeezenet" else ("pool1", "pool3", "pool5")
    assert sides(model, "conv1", *pools) == expected


def test_a_fire_module():
    model = networks.create("squeezenet", 3, 64, width=1 / 16)
    expanded = before(model.get_layer("fire2_concat"))
    assert [word(layer) for layer in expanded] == ["relu", "relu"]
    assert path_to(expanded[0]) == "input mean conv7x7/2-6 relu max3/2 conv1x1/1-1 relu conv1x1/1-4 relu"
    assert path_to(expanded[1]) == "input mean conv7x7/2-6 relu max3/2 conv1x1/1-1 relu conv3x3/1-4 relu"
    assert path_to(model.layers[-1]) == "concat dropout conv1x1/1-3 relu global softmax"


def test_a_fire_module_of_squeezenet_cifar():
    model = networks.create("squeezenet_cifar", 3, width=1 / 16)
    outputs = before(model.get_layer("fire3_bypass"))
    assert [layer.name for layer in outputs] == ["fire2_concat", "fire3_concat"]
    squeezed, normalized = "bn relu conv1x1/1-1", "bn relu"
    assert [path_to(layer) for layer in before(model.get_layer("fire3_concat"))] == [
        f"concat {squeezed} {normalized} conv1x1/1-4",
        f"concat {squeezed} {normalized} conv3x3/1-4",
    ]
    assert [layer.name for layer in model.layers if word(layer) == "add"] == [f"fire{n}_bypass" for n in (3, 5, 7, 9)]
    assert path_to(model.layers[-1]) == "add dropout bn relu conv1x1/1-3 global softmax"
    assert sides(model, "conv1", "pool1", "pool4", "pool8") == [32, 16, 8, 4]


@pytest.mark.medium
def test_googlenet():
    model = networks.find("googlenet").build(7, 224, "softmax", width=1 / 16)
    stem = "input mean pad conv7x7/2-4 relu max3/2 lrn conv1x1/1-4 relu conv3x3/1-12 relu lrn max3/2"
    assert [path_to(layer) for layer in before(model.get_layer("inception_3a_concat"))] == [
        f"{stem} conv1x1/1-4 relu",
        f"{stem} conv1x1/1-6 relu conv3x3/1-8 relu",
        f"{stem} conv1x1/1-1 relu conv5x5/1-2 relu",
        f"{stem} max3/1 conv1x1/1-2 relu",
    ]
    assert sides(model, "conv1", "pool1", "pool2", "pool3", "pool4") == [112, 56, 28, 14, 7]
    lrn = model.get_layer("lrn1")
    assert (lrn.depth_radius, lrn.bias, lrn.alpha, lrn.beta) == (2, 1.0, pytest.approx(2e-5), 0.75)
    assert path_to(model.get_layer("predictions")) == "concat global dropout fc softmax"
    head = "concat average5/3 conv1x1/1-8 relu flatten fc relu dropout fc softmax"
    assert [path_to(model.get_layer(f"aux{n}_predictions")) for n in (1, 2)] == [head, head]
    assert [before(model.get_layer(f"aux{n}_pool"))[0].name for n in (1, 2)] == [
        "inception_4a_concat",
        "inception_4d_concat",
    ]
    assert [model.get_layer(name).rate for name in ("dropout", "aux1_dropout", "aux2_dropout")] == [0.4, 0.7, 0.7]
    assert sides(model, "aux1_pool", "aux2_pool") == [4, 4]


@pytest.mark.slow
def test_parameters_of_googlenets_heads():
    model = networks.find("googlenet").build(1000, 224)
    assert trainable(model) == 13_378_280


def test_googlenets_heads_are_outputs_for_training_only():
    network = networks.find("googlenet")
    model = network.build(3, 32, None, width=1 / 16)
    assert model.output_shape == [(None, 3)] * 3 and len(network.aux_loss_weights) == 2
    main = networks.create("googlenet", 3, 32, width=1 / 16)
    assert main.output_shape == (None, 3)
    assert not [layer for layer in main.layers if layer.name.startswith("aux")]


@pytest.mark.medium
def test_googlenet_cifar():
    model = networks.create("googlenet_cifar", 3, width=1 / 16)
    stem = "input mean conv3x3/1-12 bn relu"
    assert [path_to(layer) for layer in before(model.get_layer("inception_3a_concat"))] == [
        f"{stem} conv1x1/1-4 bn relu",
        f"{stem} conv1x1/1-6 bn relu conv3x3/1-8 bn relu",
        f"{stem} conv1x1/1-1 bn relu conv5x5/1-2 bn relu",
        f"{stem} max3/1 conv1x1/1-2 bn relu",
    ]
    assert sides(model, "pool3", "pool4", "inception_5b_concat") == [16, 8, 8]


@pytest.mark.medium
def test_inception_v4():
    model = networks.create("inception_v4", 3, width=1 / 32)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == 149
    names = [f"{name}_concat" for name in ("stem1", "stem2", "stem3", "a4", "reduction_a", "b7", "reduction_b", "c3")]
    assert sides(model, *names) == [73, 71, 35, 35, 17, 17, 8, 8]
    for layer in model.layers:
        if word(layer) == "bn":
            assert word(before(layer)[0]).startswith("conv")
        if word(layer) == "relu":
            assert word(before(layer)[0]) == "bn"
    b = [path_to(layer).replace(" bn relu", "") for layer in before(model.get_layer("b2_concat"))]
    assert b == [
        "concat conv1x1/1-12",
        "concat conv1x1/1-6 conv1x7/1-7 conv7x1/1-8",
        "concat conv1x1/1-6 conv7x1/1-6 conv1x7/1-7 conv7x1/1-7 conv1x7/1-8",
        "concat average3/1 conv1x1/1-4",
    ]
    c = [path_to(layer).replace(" bn relu", "") for layer in before(model.get_layer("c1_concat"))]
    assert c == [
        "concat conv1x1/1-8",
        "concat conv1x1/1-12 conv1x3/1-8",
        "concat conv1x1/1-12 conv3x1/1-8",
        "concat conv1x1/1-12 conv3x1/1-14 conv1x3/1-16 conv1x3/1-8",
        "concat conv1x1/1-12 conv3x1/1-14 conv1x3/1-16 conv3x1/1-8",
        "concat average3/1 conv1x1/1-8",
    ]


@pytest.mark.medium
def test_the_auxiliary_head_of_inception_v4():
    """TensorFlow-Slim's: a convolution over the whole of the pooled maps, and a loss that counts 0.4."""
    network = networks.find("inception_v4")
    model = networks.create_for_training("inception_v4", 3, width=1 / 32)
    assert model.output_shape == [(None, 3)] * 2 and network.aux_loss_weights == (0.4,)
    head = "concat average5/3 conv1x1/1-4 bn relu conv5x5/1-24 bn relu flatten fc linear"
    assert path_to(model.get_layer("aux_predictions")) == head
    assert before(model.get_layer("aux_pool"))[0].name.startswith("b7")
    assert not [layer for layer in networks.create("inception_v4", 3, width=1 / 32).layers if "aux" in layer.name]


@pytest.mark.medium
def test_a_layer_of_a_densenet():
    model = networks.create("densenet_bc_100_12", 3, width=1 / 4)
    maps, new = before(model.get_layer("block1_layer2_concat"))
    assert maps.name == "block1_layer1_concat"
    assert path_to(new) == "concat bn relu conv1x1/1-12 bn relu conv3x3/1-3"
    assert path_to(model.get_layer("transition1_pool")) == "concat bn relu conv1x1/1-27 average2/2"
    assert path_to(model.layers[-1]) == "concat bn relu global fc softmax"
    assert sum(word(layer) == "concat" for layer in model.layers) == 48
    plain = networks.create("densenet_40_12", 3, dropout=0.2)
    assert path_to(before(plain.get_layer("block1_layer2_concat"))[1]) == "concat bn relu conv3x3/1-12 dropout"
    assert path_to(plain.get_layer("transition1_pool")) == "concat bn relu conv1x1/1-160 dropout average2/2"


@pytest.mark.medium
def test_a_layer_of_the_surveys_densenet():
    """As takedarts/resnetfamily: batch normalization after convolutions too, bare transitions, a ReLU at the end."""
    model = networks.create("survey_densenet", 3, width=1 / 12)
    assert path_to(before(model.get_layer("block1_layer2_concat"))[1]) == "concat bn relu conv3x3/1-1 bn"
    assert path_to(model.get_layer("transition1_pool")) == "concat conv1x1/1-24 average2/2"
    assert path_to(model.layers[-1]) == "concat relu global fc softmax"
    assert model.get_layer("conv0").use_bias and sum(word(layer) == "concat" for layer in model.layers) == 69


def test_a_block_of_a_fractalnet():
    model = networks.create("fractalnet_20", 3, width=1 / 16, drop_path=0)
    layer = "conv3x3/1-8 dropout bn relu"
    paths = before(model.get_layer("block2_join2"))
    assert path_to(paths[0], ("max2/2",)) == f"max2/2 {layer}"
    assert path_to(paths[1], ("mean",)) == f"mean {layer}"
    assert path_to(paths[2], ("mean",)) == f"mean {layer} {layer}"
    first = before(model.get_layer("block2_join1"))
    assert [path_to(path, ("max2/2",)) for path in first] == [f"max2/2 {layer}", f"max2/2 {layer} {layer}"]
    assert [path.name for path in before(model.get_layer("block2_pool"))] == ["block2_join2"]
    assert sides(model, *(f"block{n}_pool" for n in range(1, 6))) == [16, 8, 4, 2, 1]
    rates = [model.get_layer(f"block{n}_conv1_dropout").rate for n in range(2, 6)]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4])


@pytest.mark.medium
def test_a_fractalnet_drops_paths_in_training_only():
    keras.utils.set_random_seed(0)
    model = networks.create("fractalnet_20", 3, width=1 / 16)
    joins = [layer for layer in model.layers if isinstance(layer, DropPathJoin)]
    assert [join.columns for join in joins] == [(1, 2), (0, 1, 2)] * 5
    assert {join.rate for join in joins} == {0.15}
    plain = networks.create("fractalnet_20", 3, width=1 / 16, drop_path=0)
    plain.set_weights([value for value in model.get_weights() if value.dtype == np.float32])
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict_on_batch(images), plain.predict_on_batch(images), atol=1e-6)
    outputs = [np.asarray(model(images, training=True)) for _ in range(3)]
    assert not np.allclose(outputs[0], outputs[1]) or not np.allclose(outputs[0], outputs[2])


@pytest.mark.parametrize(("name", "least"), [("squeezenet", 21), ("squeezenet_cifar", 8)])
def test_the_smallest_image(name, least):
    assert networks.create(name, 3, least, width=1 / 16).output_shape == (None, 3)
    with pytest.raises(ValueError, match=f"image_size={least - 1}: too small for {name}; expected at least {least}"):
        networks.create(name, 3, least - 1)


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_wrong_widths_are_refused(width):
    with pytest.raises(ValueError, match=f"width={width}: expected a positive number"):
        networks.create("squeezenet_cifar", 3, width=width)
