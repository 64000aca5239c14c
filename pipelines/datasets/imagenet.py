"""ImageNet as it is distributed: a folder with ILSVRC-2012's training synsets and validation images.

    <dir>/train/<wnid>/*.JPEG
    <dir>/val/<wnid>/*.JPEG, or <dir>/val/*.JPEG with their labels in one of
        ILSVRC2012_validation_ground_truth.txt: line i is the ILSVRC2012_ID of ILSVRC2012_val_<i>.JPEG (development kit)
        LOC_val_solution.csv: ImageId, and a PredictionString that begins with the wnid (Kaggle)

The images may also be in <dir>/ILSVRC/Data/CLS-LOC, as Kaggle packs them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.cli.regular_files import MAX_IMAGE_BYTES, read_csv, read_text, unreadable_reason
from pipelines.datasets import image_folder as folders
from pipelines.datasets.class_order import devkit_wnids

LAYOUT = "train/<wnid>/*.JPEG and val/*.JPEG (or val/<wnid>/*.JPEG)"

_IMAGE_FOLDERS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_SOLUTION = "LOC_val_solution.csv"
# Where the label files are below <dir>: as given, or as the development kit unpacks.
_LABEL_FOLDERS = ("", "data", "ILSVRC2012_devkit_t12/data", "devkit/data", "val")
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)


def open_ilsvrc(root: str) -> folders.ImageFolder:
    """Lists the images below `root`; the label is the position of the wnid among the sorted folders of train/.

    Raises:
      ValueError: the layout is not the expected one; the message says what was found.
    """
    name = f"ilsvrc:{root}"
    where = f"dataset={name}"
    images = next((path for path in (Path(root, name) for name in _IMAGE_FOLDERS) if (path / "train").is_dir()), None)
    if images is None:
        raise ValueError(f"{where}: no folder train/ in it, expected {LAYOUT}")
    if not (images / "val").is_dir() or folders.holds_classes(os.fspath(images / "val")):
        # Kaggle's test/ has no labels.
        return folders.open_folder(os.fspath(images), name, splits=("train", "validation"))
    training = folders.open_folder(os.fspath(images), name, splits=("train",))
    wnids = _validation_wnids(Path(root), where)
    listing = _list_flat(images / "val", wnids, training.class_names, where)
    return folders.ImageFolder(
        training.root, training.class_names, {"train": training.listings["train"], "validation": listing}
    )


def _list_flat(folder: Path, wnids: Mapping[int, str], class_names: tuple[str, ...], where: str) -> folders.Listing:
    """The images of a flat val/; their wnids by their number."""
    labels = {name: label for label, name in enumerate(class_names)}
    keys, found, bad = [], [], {}
    for name in sorted(os.listdir(folder)):
        match = _NUMBERED.fullmatch(name)
        if not match:
            continue
        wnid = wnids.get(int(match[1]))
        if wnid is None or wnid not in labels:
            raise ValueError(f"{where}: {name} is of class {wnid}, which is not in train/")
        key = f"{folder.name}/{name}"
        reason = unreadable_reason(folder / name, MAX_IMAGE_BYTES)
        if reason:
            bad[key] = reason
        else:
            keys.append(key)
            found.append(labels[wnid])
    if not keys:
        raise ValueError(f"{where}: no ILSVRC2012_val_*.JPEG in {folder}, expected {LAYOUT}")
    return folders.Listing(tuple(keys), np.array(found, np.int32), bad)


def _validation_wnids(root: Path, where: str) -> dict[int, str]:
    """The wnid of each validation image by its number, which counts from 1."""
    for folder in (root / name for name in _LABEL_FOLDERS):
        for name, read in ((_GROUND_TRUTH, _read_ground_truth), (_SOLUTION, _read_solution)):
            if (folder / name).is_file():
                try:
                    return read(folder / name)
                except (KeyError, IndexError, ValueError):
                    raise ValueError(f"{where}: {folder / name} is broken, or another kind of file") from None
    raise ValueError(
        f"{where}: the validation images are in one folder, and neither {_GROUND_TRUTH} nor {_SOLUTION} is in {root}, "
        f"expected one of them there"
    )


def _read_ground_truth(path: Path) -> dict[int, str]:
    wnids = devkit_wnids()
    ids = [int(line) for line in read_text(path, "ascii").split()]
    if min(ids) < 1:
        raise ValueError("ILSVRC2012_IDs count from 1")
    return {number: wnids[devkit_id - 1] for number, devkit_id in enumerate(ids, 1)}


def _read_solution(path: Path) -> dict[int, str]:
    rows = read_csv(path, "ascii")
    return {int(row["ImageId"].rsplit("_", 1)[1]): row["PredictionString"].split()[0] for row in rows}
