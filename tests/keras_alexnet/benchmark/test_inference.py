import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.benchmark.inference import bfloat16_instructions, serving_contenders


@pytest.fixture(scope="module")
def contenders():
    return serving_contenders(VARIANTS["paper"].scaled(1 / 32), batch=2)


def test_every_contender_answers(contenders):
    assert list(contenders) == [
        "view by view",
        "ours",
        "view by view, mean image",
        "ours, mean image",
        "ours in bfloat16",
        "ours in bfloat16, mean image",
        "floor",
        "decoding",
    ]
    for answer in contenders.values():
        assert np.all(np.isfinite(np.asarray(answer(), np.float32)))


def test_contenders_give_the_same_answers(contenders):
    expected = contenders["view by view"]()
    assert expected.shape == (2, 1000)
    np.testing.assert_allclose(contenders["ours"](), expected, atol=1e-6)
    np.testing.assert_allclose(contenders["ours in bfloat16"](), expected, atol=1e-3)
    with_mean_image = contenders["view by view, mean image"]()
    np.testing.assert_allclose(contenders["ours, mean image"](), with_mean_image, atol=1e-6)
    np.testing.assert_allclose(contenders["ours in bfloat16, mean image"](), with_mean_image, atol=1e-3)
    assert np.all(contenders["decoding"]())


def test_bfloat16_instructions_are_named_or_none():
    assert "bf16" in bfloat16_instructions() or "none" in bfloat16_instructions()
