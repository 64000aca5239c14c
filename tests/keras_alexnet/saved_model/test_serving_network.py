import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.layers import (
    LocalResponseNormalization,
    MeanSubtraction,
    OverlappingMaxPool,
    TowerActivation,
    TowerConv2D,
    TowerDense,
)
from keras_alexnet.saved_model.serving_network import ServingNetwork
from keras_alexnet.saved_model.shared_crops import shareable_layers
from keras_alexnet.ten_crop import crop_probabilities
from tests.helpers.processor import needs_bfloat16

pytestmark = [pytest.mark.numeric, pytest.mark.medium]

IMAGES = [tf.TensorSpec([None, 256, 256, 3], tf.uint8)]
MEANS = {"channels": None, "image": np.random.default_rng(1).uniform(60, 180, (256, 256, 3))}


def resized_images(count: int, seed: int = 0) -> tf.Tensor:
    """Patches of colour rather than noise, so that the crops differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)
    return tf.constant(np.kron(coarse, np.ones((1, 16, 16, 1), np.uint8)))


def traced(function):
    return tf.function(function, input_signature=IMAGES, autograph=False)


def network(variant="paper", mean=None, width=1 / 16, classes=7):
    keras.utils.set_random_seed(3)
    model = AlexNet(variant, classes=classes, classifier_activation=None, width=width, init="he", mean=mean)
    # Spread the scores out: among equal or saturated probabilities, errors would not be seen.
    fc8 = model.get_layer("fc8")
    kernel, bias = fc8.get_weights()
    fc8.set_weights(
        [kernel * 1.5 / np.std(model(resized_images(1)[:, : model.input_shape[1], : model.input_shape[1]])), bias]
    )
    return model


def first_layers(*, kernel=11, strides=4, padding=(0, 3, 0, 3), pool=(3, 2), size=224, mean=(120.0, 110.0, 100.0)):
    """A network of one convolution, normalised and pooled, and a classifier."""
    keras.utils.set_random_seed(4)
    images = keras.Input((size, size, 3))
    towers = MeanSubtraction(mean, 1 / 64, name="mean_subtraction")(images)
    he = keras.initializers.HeNormal()
    towers = TowerConv2D(8, kernel, strides, padding, connectivity="full", kernel_initializer=he, name="conv1")(towers)
    towers = TowerActivation("relu")(towers)
    towers = LocalResponseNormalization(alpha=0.05)(towers)
    towers = OverlappingMaxPool(*pool)(towers)
    features = TowerActivation("relu")(TowerDense(16, kernel_initializer=he, name="fc7")(towers))
    scores = TowerDense(5, towers=1, kernel_initializer=he, name="fc8")(features)
    return keras.Model(images, keras.layers.Activation(None, name="predictions")(scores))


def shared_of(model):
    _, centring, *layers = model.layers
    has_mean_image = centring.mean.ndim == 3
    return [layer.name for layer in shareable_layers(layers, model.input_shape[1], has_mean_image=has_mean_image)]


def assert_predicts_as(model, images):
    expected = crop_probabilities(model, images, "ten", from_logits=True).numpy()
    assert 0.25 < expected.max() < 0.99, "equal or saturated probabilities would hide errors"
    np.testing.assert_allclose(traced(ServingNetwork(model).ten_crop)(images), expected, atol=1e-6)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.numeric
def test_ten_crops_of_the_paper_s_network_share_its_first_layers_exactly(mean):
    model = network(mean=MEANS[mean])
    both = ["conv1", "relu1", "lrn1", "pool1", "conv2", "relu2", "lrn2", "pool2"]
    assert shared_of(model) == (both if mean == "channels" else both[:4])
    assert_predicts_as(model, resized_images(2))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "paper"])
def test_ten_crops_of_every_variant_are_exact(variant):
    assert_predicts_as(network(variant, MEANS["image"] if variant == "source2012" else None), resized_images(1))


@pytest.mark.parametrize("mean", [(120.0, 110.0, 100.0), MEANS["image"][16:240, 16:240]], ids=["channels", "image"])
@pytest.mark.parametrize(
    "geometry",
    [
        {"padding": (0, 0, 0, 0)},
        {"kernel": 8, "padding": (0, 8, 0, 8)},
        {"kernel": 5, "strides": 2, "padding": (0, 3, 0, 3), "pool": (2, 2)},
        {"pool": (3, 4)},
        {"pool": (2, 2, True)},
        {"padding": (0, 0, 0, 0), "pool": (3, 4, True)},
        {"padding": (8, 8, 8, 8)},
        {"padding": (8, 3, 8, 3), "pool": (2, 2)},
    ],
    ids=str,
)
def test_sharing_is_exact_for_other_geometries(geometry, mean):
    model = first_layers(mean=mean, **geometry)
    assert len(shared_of(model)) == 4
    assert_predicts_as(model, resized_images(2))


@pytest.mark.parametrize(
    "geometry",
    [
        {"padding": (2, 2, 2, 2)},
        {"padding": (0, 3, 0, 7)},
        {"strides": 5},
        {"pool": (3, 3)},
        {"size": 227, "padding": (0, 0, 0, 0)},
        {"padding": (0, 3, 3, 0)},
    ],
    ids=[
        "zeros at the top",
        "more zeros at the right",
        "stride 5",
        "pool stride 3",
        "crops begin at 14 and 29",
        "more zeros at the left than at the top",
    ],
)
def test_where_sharing_would_not_be_exact_each_crop_is_computed(geometry):
    model = first_layers(**geometry)
    assert shared_of(model) == []
    assert_predicts_as(model, resized_images(1))


@pytest.mark.numeric
@pytest.mark.parametrize(
    "precision, tolerance", [("float32", 1e-6), pytest.param("bfloat16", 0.02, marks=needs_bfloat16)]
)
def test_predictions_do_not_depend_on_the_batch(precision, tolerance):
    served = ServingNetwork(network(mean=MEANS["image"], width=1 / 32), precision)
    ten, center = traced(served.ten_crop), traced(served.center_crop_and_features)
    images = resized_images(9)
    together = ten(images), center(images)[0]
    for rows in (slice(0, 1), slice(8, 9), slice(1, 8)):
        apart = ten(images[rows]), center(images[rows])[0]
        for one, all_of_them in zip(apart, together, strict=True):
            np.testing.assert_allclose(one, all_of_them[rows], atol=tolerance)
            if precision == "float32":
                np.testing.assert_array_equal(np.argmax(one, -1), np.argmax(all_of_them[rows], -1))


@pytest.mark.numeric
def test_more_images_than_one_slice_and_none_at_all_are_predicted():
    served = ServingNetwork(network(width=1 / 32))
    center = traced(served.center_crop_and_features)
    images = resized_images(81)
    probabilities, features = center(images)
    assert probabilities.shape == (81, 7) and features.shape[0] == 81
    np.testing.assert_allclose(probabilities[80:], center(images[80:])[0], atol=1e-6)
    assert traced(served.ten_crop)(images[:0]).shape == (0, 7)


@pytest.mark.numeric
@needs_bfloat16
def test_bfloat16_predicts_nearly_the_same_with_weights_of_half_the_size():
    model = network(width=1 / 8)
    served = ServingNetwork(model, "bfloat16")
    images = resized_images(4)
    exact = crop_probabilities(model, images, "ten", from_logits=True).numpy()
    np.testing.assert_allclose(traced(served.ten_crop)(images), exact, atol=0.02)
    half = [variable for variable in served.variables if variable.dtype == tf.bfloat16]
    fc8 = model.get_layer("fc8").count_params()
    assert sum(int(tf.size(variable)) for variable in half) == model.count_params() - fc8


def test_bfloat16_casts_nothing_between_the_mean_and_the_classifier():
    served = ServingNetwork(network(width=1 / 32), "bfloat16")
    library = traced(served.center_crop_and_features).get_concrete_function().graph.as_graph_def().library
    nodes = [node for function in library.function for node in function.node_def]
    types = {kind: [node.attr["T"].type for node in nodes if node.op == kind] for kind in ("Conv2D", "Rsqrt")}
    # Ten of the convolutions and four window sums of normalization.
    assert types == {"Conv2D": [tf.bfloat16.as_datatype_enum] * 14, "Rsqrt": [tf.bfloat16.as_datatype_enum] * 4}
    # 1/32 of fc6 and fc7: units first.
    shapes = [tuple(variable.shape) for variable in served.variables if variable.dtype == tf.bfloat16]
    assert {(64, 288), (64, 128)} <= set(shapes)


@needs_bfloat16
def test_the_network_that_is_served_is_left_as_it_is():
    model = network()
    before = model.get_weights()
    traced(ServingNetwork(model, "bfloat16").ten_crop)(resized_images(1))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_layer("conv2").compute_dtype == "float32"
