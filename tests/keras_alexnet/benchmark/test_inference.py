import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.benchmark.inference import inference_contenders, single_crop_contenders
from keras_alexnet.benchmark.machine import convolution_peak, header
from keras_alexnet.provenance import has_bfloat16, processor_instructions

pytestmark = pytest.mark.medium

IS_NATIVE = has_bfloat16(processor_instructions())
BFLOAT16 = ["served graph, bfloat16", "served graph, bfloat16, mean image"] if IS_NATIVE else []


@pytest.fixture(scope="module")
def contenders():
    return inference_contenders(VARIANTS["paper"].scaled(1 / 32), batch=2)


@pytest.mark.slow
def test_every_contender_answers(contenders):
    assert list(contenders) == [
        "ten crops",
        "served graph",
        "served graph, in this process",
        "ten crops, mean image",
        "served graph, mean image",
        "products",
        "decoding",
        *BFLOAT16,
    ]
    for answer in contenders.values():
        assert np.all(np.isfinite(np.asarray(answer(), np.float32)))


@pytest.mark.slow
def test_contenders_give_the_same_answers(contenders):
    expected = contenders["ten crops"]()
    assert expected.shape == (2, 1000)
    for name in ("served graph", "served graph, in this process"):
        np.testing.assert_allclose(contenders[name](), expected, atol=1e-6)
    with_mean_image = contenders["ten crops, mean image"]()
    np.testing.assert_allclose(contenders["served graph, mean image"](), with_mean_image, atol=1e-6)
    for name, other in zip(BFLOAT16, (expected, with_mean_image), strict=False):
        np.testing.assert_allclose(contenders[name](), other, atol=1e-3)
    assert np.all(contenders["decoding"]())


def test_the_header_names_the_machine_and_the_versions():
    lines = header().splitlines()
    assert "cores" in lines[0] and "oneDNN: " in lines[2] and "tensorflow 2" in lines[3]


def test_the_peak_is_a_rate():
    assert convolution_peak(turns=1) > 0.1


def test_runtimes_give_the_probabilities_of_the_network():
    contenders = single_crop_contenders(VARIANTS["paper"].scaled(1 / 32), batch=2)
    expected = contenders["Keras model"]()
    for name, predict in contenders.items():
        # PyTorch's network has weights of its own.
        if "PyTorch" not in name:
            np.testing.assert_allclose(predict(), expected, atol=1e-3 if "bfloat16" in name else 1e-5, err_msg=name)
        assert np.asarray(predict()).shape == (2, 1000)
