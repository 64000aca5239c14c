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


@pytest.mark.parametrize("how", ["external", "unwritten", "virtual", "link"])
def test_arrays_that_are_not_in_the_hdf5_file_are_refused(tmp_path, how):
    """Such a file could read others, or be small and ask for all memory."""
    model = small("paper")
    path = tmp_path / "w.weights.h5"
    model.save_weights(path)
    (tmp_path / "secret").write_bytes(bytes(5 * 5 * 3 * 8 * 4))
    with h5py.File(path, "a") as file, h5py.File(tmp_path / "other.h5", "w") as other:
        variables = file["layers/tower_conv2d_1/vars"]
        shape = variables["0"].shape
        other["a"] = np.zeros(shape, np.float32)
        del variables["0"]
        if how == "external":
            variables.create_dataset("0", shape, "f4", external=str(tmp_path / "secret"))
        elif how == "unwritten":
            variables.create_dataset("0", (10**6, 10**6), "f4")
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[:] = h5py.VirtualSource(other["a"])
            variables.create_virtual_dataset("0", layout)
        else:
            variables["0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
    refused(model, path, VARIANTS["paper"], "not")
