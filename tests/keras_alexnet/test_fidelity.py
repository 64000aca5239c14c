"""Every network against independent NumPy float64 arithmetic, and what each is made of."""

import functools

import keras
import numpy as np
import pytest

from keras_alexnet import AlexNet
from tests.helpers import reference

pytestmark = pytest.mark.numeric

# Largest difference between logits, relative to the largest absolute logit. Rounding in float32 makes about 2e-6;
# the least of the mistakes below makes 1e-2.
TOLERANCE = 1e-4
PARAMETERS = {
    "paper": 60_965_224,
    "source2012": 60_965_224,
    "caffe": 60_965_224,
    "caffenet": 60_965_224,
    "torchvision": 61_100_840,
    "one_gpu": 59_798_312,
    "no_lrn": 60_965_224,
    "non_overlapping": 60_965_224,
    "no_dropout": 60_965_224,
    "conv6": 61_555_304,
    "tanh": 60_965_224,
}
WIDTHS = [pytest.param(1 / 8, id="narrow"), pytest.param(1.0, id="full", marks=pytest.mark.slow)]


def random_values(random, variant, layer, shape):
    """He-scaled kernels, and biases that matter beside what they are added to.

    Pixels are of the order of a hundred, and so are the activations that follow: the sum in LRN is as large as its
    constant. They would saturate tanh, whose conv1 brings them to the order of one; torchvision's input has that size.
    """
    small = variant in ("tanh", "torchvision")
    if len(shape) == 1:
        scale = 0.3 if small else 10
    else:
        scale = np.sqrt(2 / np.prod(shape[:-1])) / (64 if (variant, layer) == ("tanh", "conv1") else 1)
    return random.standard_normal(shape, np.float32) * np.float32(scale)


def computed(variant, width):
    """Logits of our network for one image, and all that the reference needs: its weights, and what its conv1 reads."""
    random = np.random.default_rng(2012)
    # Variants of which weights were published bring the mean that these expect; the others get a mean image here.
    mean = None if variant in reference.PUBLISHED_INPUT else random.uniform(80, 150, (256, 256, 3)).astype(np.float32)
    model = AlexNet(variant, width=width, mean=mean, classifier_activation=None)
    for layer in model.layers:
        layer.set_weights([random_values(random, variant, layer.name, w.shape) for w in layer.get_weights()])
    size = model.input_shape[1]
    image = random.integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    first = (256 - size) // 2
    if mean is None:
        conv1_reads = reference.PUBLISHED_INPUT[variant](image)
    else:
        conv1_reads = image - mean[first : first + size, first : first + size].astype(np.float64)
    return np.asarray(model(image)), {x.name: x.get_weights() for x in model.layers if x.weights}, conv1_reads


@pytest.fixture(scope="module")
def networks():
    """`computed`, which remembers the last network: 61 million weights are not drawn again for each mistake."""
    return functools.lru_cache(maxsize=1)(computed)


def difference(logits, expected):
    return np.abs(logits - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("variant", PARAMETERS)
@pytest.mark.parametrize("width", WIDTHS)
def test_logits_equal_the_reference(networks, variant, width):
    logits, weights, image = networks(variant, width)
    assert logits.shape == (1, 1000)
    expected = getattr(reference, variant)(weights, image)
    assert np.std(expected) > 0.1 * np.abs(expected).max(), "logits that hardly differ would hide errors"
    assert difference(logits, expected) < TOLERANCE


def normalized_with(**wrong):
    return lambda right: lambda maps, **constants: right(maps, **constants | wrong)


def dividing_by_the_pixels_that_are_there(maps):
    squares = keras.ops.average_pool(maps**2, 5, strides=1, padding="same")
    return maps / (1 + 1e-3 * np.asarray(squares)) ** 0.75


# Network, what is done wrong, the part of the reference that is replaced, and the wrong part made from the right one.
MISTAKES = [
    ("paper", "alpha divided by the window's 5", "response_normalization", normalized_with(alpha=2e-5)),
    ("paper", "k 1", "response_normalization", normalized_with(k=1)),
    ("paper", "LRN across towers", "within_towers", lambda right: reference.across_towers),
    ("paper", "two pixels of padding on all sides", "OVERHANG", lambda right: (2, 2, 2, 2)),
    ("paper", "no dropout factor", "KEPT", lambda right: 1.0),
    ("source2012", "alpha 1e-4", "response_normalization", normalized_with(alpha=1e-4)),
    ("source2012", "k 1", "response_normalization", normalized_with(k=1)),
    (
        "source2012",
        "LRN after ReLU",
        "within_towers",
        lambda right: lambda towers, **constants: right(reference.each(reference.relu, towers), **constants),
    ),
    ("source2012", "LRN across towers", "within_towers", lambda right: reference.across_towers),
    ("source2012", "two pixels of padding on all sides", "OVERHANG", lambda right: (2, 2, 2, 2)),
    (
        "source2012",
        "SAME pooling in the same-map norm",
        "same_map_normalization",
        lambda right: dividing_by_the_pixels_that_are_there,
    ),
    ("source2012", "no same-map norm", "same_map_normalization", lambda right: lambda maps: maps),
    ("source2012", "no dropout factor", "KEPT", lambda right: 1.0),
    ("caffe", "alpha 1e-4", "response_normalization", normalized_with(alpha=1e-4)),
    ("caffe", "k 2", "response_normalization", normalized_with(k=2)),
    ("caffe", "LRN within towers", "across_towers", lambda right: reference.within_towers),
    ("caffe", "pool before LRN", "caffe", lambda right: reference.caffenet),
    ("caffenet", "LRN before pool", "caffenet", lambda right: reference.caffe),
]


@pytest.mark.parametrize("variant, part, wrong", [pytest.param(v, p, w, id=f"{v}: {m}") for v, m, p, w in MISTAKES])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_tolerance_shows_a_mistake(networks, monkeypatch, variant, part, wrong, width):
    logits, weights, image = networks(variant, width)
    monkeypatch.setattr(reference, part, wrong(getattr(reference, part)))
    assert difference(logits, getattr(reference, variant)(weights, image)) > 10 * TOLERANCE


@pytest.mark.parametrize("variant", PARAMETERS)
def test_parameters_are_counted(variant, monkeypatch):
    # Drawing 61 million values takes a second.
    for initializer in (keras.initializers.RandomNormal, keras.initializers.RandomUniform):
        monkeypatch.setattr(initializer, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype))
    assert AlexNet(variant).count_params() == PARAMETERS[variant]


def what_learns(model):
    """Layer -> heights and widths of kernels, and filters, of each tower; not how many maps are read."""
    return {x.name: [w.shape[:-2] + w.shape[-1:] for w in x.get_weights()] for x in model.layers if x.weights}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_an_ablation_lacks_one_convolution_and_later_maps_have_the_papers_sizes(number):
    model = AlexNet(f"without_conv{number}", width=1 / 8, classes=7, classifier_activation=None)
    expected = what_learns(AlexNet("paper", width=1 / 8, classes=7))
    del expected[f"conv{number}"]
    assert what_learns(model) == expected
    # Where conv1 is missing, conv2 has its stride and makes 55 x 55 maps; its pool makes 13 x 13 of them.
    later = [f"conv{n}" for n in range(max(number, 2) + 1, 6)]
    sizes = {name: {y.shape[1:3] for y in model.get_layer(name).output} for name in (*later, "pool5")}
    assert sizes == {name: {(13, 13)} for name in later} | {"pool5": {(6, 6)}}
    logits = np.asarray(model(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3))))
    assert logits.shape == (2, 7) and np.isfinite(logits).all() and logits.std() > 0
