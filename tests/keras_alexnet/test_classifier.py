"""What is known about a classifier from its layers."""

import numpy as np
import pytest

from keras_alexnet import AlexNet, networks
from keras_alexnet.classifier import subtracted_mean

TRAINING_SET = np.array([120.0, 110.0, 100.0])


@pytest.mark.parametrize(
    "create, expected",
    [
        (
            lambda: AlexNet(classes=3, width=1 / 32, mean=np.full((256, 256, 3), 7, np.float32)),
            np.full((224, 224, 3), 7),
        ),
        (lambda: networks.create("wrn_16_2", classes=3, width=1 / 8), (125.3, 123.0, 113.9)),
        # It divides by 255 and subtracts nothing.
        (lambda: networks.create("survey_senet", classes=3, width=1 / 16), TRAINING_SET),
    ],
)
def test_the_mean_that_a_network_subtracts_fills_what_is_erased(create, expected):
    np.testing.assert_allclose(subtracted_mean(create(), TRAINING_SET), expected, rtol=1e-6)
