from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import AlexNet, export_model

NAMES = ["alpha", "bêta", "gamma delta", "d", "e", "f", "g"]


@pytest.fixture(scope="session")
def model() -> keras.Model:
    """A tiny AlexNet with a mean image, which gives logits."""
    keras.utils.set_random_seed(5)
    mean = np.random.default_rng(0).uniform(80, 150, (256, 256, 3))
    return AlexNet(width=1 / 16, classes=7, init="he", mean=mean, classifier_activation=None)


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory) -> Path:
    """The export of `model`. Its verification, in a process of its own, is a test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)
        return Path(export_model(model, tmp_path_factory.mktemp("export") / "alexnet", NAMES))


@pytest.fixture(scope="session")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    # The functions hold the variables weakly.
    loaded.signatures.keep = loaded
    return loaded.signatures
