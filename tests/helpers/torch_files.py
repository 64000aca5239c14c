"""Files as PyTorch saves them."""

import collections

import torch

from tests.helpers import weight_files as files

# Where the layers stand in torchvision's alexnet.py.
NAMES = ["features.0", "features.3", "features.6", "features.8", "features.10"]
NAMES += ["classifier.1", "classifier.4", "classifier.6"]


def state_dict(weights, maps_towers, names=NAMES):
    blobs = files.foreign_blobs(weights, maps_towers, bgr=False).values()
    pairs = zip(names, blobs, strict=True)
    return collections.OrderedDict(
        (f"{name}.{part}", torch.from_numpy(array.copy()))
        for name, pair in pairs
        for part, array in zip(("weight", "bias"), pair, strict=True)
    )


def saved(path, content, **arguments):
    torch.save(content, path, **arguments)
    return path
