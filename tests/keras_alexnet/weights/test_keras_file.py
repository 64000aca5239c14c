"""Keras' own files, damaged and tampered with."""

import h5py
import numpy as np
import pytest

from keras_alexnet import VARIANTS
from tests.helpers.weight_files import refused, small


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_truncated_keras_files_are_refused(tmp_path, suffix, part):
    model = small("paper")
    path = tmp_path / f"w{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(model, path, VARIANTS["paper"])


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        file["conv1/kernel"] = np.zeros(3)
    refused(small("paper"), tmp_path / "w", VARIANTS["paper"], "without Keras 3's group 'layers'")
