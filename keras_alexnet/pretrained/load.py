"""`load_network(path)`: the network of a run directory, an export, a preset, a `.keras` file or a weight file."""

import os
from pathlib import Path
from typing import Any

from keras_alexnet.path_errors import errors_of_path
from keras_alexnet.pretrained.export import SAVED_MODEL_FILE, export_version, load_export
from keras_alexnet.pretrained.files import load_keras_file, load_weights_file, refuse
from keras_alexnet.pretrained.loaded_network import LoadedNetwork
from keras_alexnet.pretrained.run import load_run
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.weights import is_preset, recognise

_KINDS = "a run directory, an export, a .keras file, a preset of keras-hub or a weight file"


def load_network(
    path: str | os.PathLike[str], *, network: str | None = None, classes: int | None = None, **options: Any
) -> LoadedNetwork:
    """Loads a network from whatever this project reads or writes.

    Keywords are required for what a file does not contain, and refused for what it contains:

    - A run directory (newest checkpoint), an export (its base directory: newest version; or one version), and a
      `.keras` file of an `AlexNet` contain everything. A `.keras` file of another network does not contain
      `preprocessing` and `from_logits`, and `image_size` if its images may have several sizes (as for `export_model`).
    - `.weights.h5` needs `network` and `classes`, and `init` if the network has this option (it decides the scale of
      pixel values); also `width` and `mean` if they were not the defaults.
    - The directory of a keras-hub preset contains everything; `image_size` may be another.
    - Weights of Caffe and PyTorch contain the number of classes; the network is detected if possible.

    Args:
      path: the file or directory.
      network: name of the network, as for `networks.create`.
      classes: number of classes, at least 1.
      **options: of the network, as for `networks.create`.

    Returns:
      A `LoadedNetwork`.

    Raises:
      ValueError: the file is missing, damaged or of another network, or a keyword is missing or refused.

    Example:

    ```python
    network = load_network("model.keras")
    network = load_network("mine.weights.h5", network="paper", classes=10, width=0.25, init="he")
    ```
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"path={path!r}: expected the path of {_KINDS}")
    path = Path(path)
    given = {"network": network, "classes": classes, **options}
    given = {name: value for name, value in given.items() if value is not None}
    with errors_of_path("path", path):
        return _load(path, given)


def _load(path: Path, given: dict[str, Any]) -> LoadedNetwork:
    if not path.exists():
        raise ValueError(f"{path}: no such file or directory; expected {_KINDS}")
    if path.is_dir() and not is_preset(path):
        version = export_version(path)
        if version is None and not RunDirectory(path).exists():
            raise ValueError(f"{path}: found neither model.json nor {SAVED_MODEL_FILE}; expected {_KINDS}")
        refuse(given, path, "the directory")
        return load_run(path) if version is None else load_export(path, version)
    if recognise(path) == "keras":
        return load_keras_file(path, given)
    return load_weights_file(path, given)
