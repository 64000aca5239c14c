"""Command: prepares a dataset for training. Resizes every image once, stores it, and computes statistics.

    python -m pipelines.prepare --dataset=folder:photographs --output_dir=prepared
    python -m pipelines.prepare --dataset=folder:cifar10 --output_dir=prepared_cifar10 --size=32

The result is a TFDS dataset directory with two more files: statistics.npz (mean image, RGB mean and covariance of the
prepared training images) and summary.json. Every command takes the directory as --dataset.
Photographs are turned upright by their EXIF orientation. The directory appears complete or not at all; the same command
resumes a preparation that was stopped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence

from absl import flags

from pipelines.choices import (
    CLASS_ORDERS,
    DATASET_FORMS,
    JPEG_QUALITY,
    LOSSLESS_SIZE,
    RESIZE_POLICIES,
    RESIZED_SIZE,
    RUNNERS,
)
from pipelines.cli import define_path, run, stop_signals

# Records of larger images would hardly be faster to read than the photographs.
_LARGEST_SIZE = 2048


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("dataset", None, DATASET_FORMS, required=True)
    define_path("data_dir", None, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set")
    define_path("output_dir", None, "directory to create; it must not exist, its parent must", required=True)
    flags.DEFINE_enum(
        "resize",
        "shorter_side",
        RESIZE_POLICIES,
        "shorter side to --size and the centre of it (torchvision: with its rounding), or both sides to --size",
    )
    flags.DEFINE_integer(
        "size",
        RESIZED_SIZE,
        "side of the stored images in pixels: at least that of the network's images, such as 256 for crops of 224, or "
        "32 for CIFAR-10",
        1,
        _LARGEST_SIZE,
    )
    flags.DEFINE_integer(
        "quality",
        JPEG_QUALITY,
        "JPEG quality of the stored images; an RGB JPEG of the right size is kept as it is. Images of up to "
        f"{LOSSLESS_SIZE} pixels are stored as PNG, without loss",
        1,
        100,
    )
    flags.DEFINE_float("max_bad_fraction", 0.001, "share of images that may be undecodable", 0.0, 1.0)
    flags.DEFINE_enum(
        "class_order",
        "sorted",
        CLASS_ORDERS,
        "order of the outputs: sorted wnids, or ImageNet's own numbers (as in the 2012 code)",
    )
    define_path("classes_file", None, "keep only the classes in this file, one a line; of a prepared dataset too")
    define_path("label_names_file", None, "display names: a line has a class and its name")
    flags.DEFINE_float(
        "validation_fraction",
        None,
        "fraction of the training images to hold out, for folders without validation images",
        0.0,
        1.0,
    )
    flags.DEFINE_integer("take", None, "at most this many images of each split, for trial runs", 1, 2**31 - 1)
    flags.DEFINE_integer("workers", None, "processes; by default one a core, where that is worth it", 1, 1024)
    flags.DEFINE_enum("runner", "local", RUNNERS, "this machine, or the Ray cluster of RAY_ADDRESS with a shared disk")


def main(argv: Sequence[str]) -> int:
    """Runs the command."""
    del argv
    with stop_signals("stopping after this image (press again to stop at once)") as stop:
        try:
            summary = _prepare(stop.raise_if_received)
        except KeyboardInterrupt:
            print("interrupted: no output written; run the same command again to resume", file=sys.stderr)
            return 128 + (stop.received or 0)
    counts = ", ".join(f"{split['images']} {name}" for name, split in summary["splits"].items())
    skipped = f" ({len(summary['bad_images'])} skipped)" if summary["bad_images"] else ""
    output_dir = shlex.quote(flags.FLAGS.output_dir)
    # The default network reads crops of images of the default size. Which networks read smaller ones is not known here.
    is_small = summary["size"] < RESIZED_SIZE
    other = f", with --network or --image_size for images of at most {summary['size']} pixels" if is_small else ""
    print(
        f"prepared {counts} images{skipped} in {output_dir}; "
        f"train on them: python -m keras_alexnet.train --dataset={output_dir} --model_dir=model{other}"
    )
    return 0


def _prepare(check_interrupted: Callable[[], None]) -> dict:
    """Calls `prepare` with the flags."""
    from pipelines.datasets.class_order import read_class_list, read_label_names
    from pipelines.datasets.registry import open_source
    from pipelines.preparation.prepare import prepare

    options = flags.FLAGS
    source = open_source(
        options.dataset, options.data_dir, options.class_order, validation_fraction=options.validation_fraction
    )
    classes = read_class_list(options.classes_file, source.class_names) if options.classes_file else None
    names = options.label_names_file
    return prepare(
        source,
        options.output_dir,
        options.resize,
        options.max_bad_fraction,
        size=options.size,
        quality=options.quality,
        classes=classes,
        label_names=read_label_names(names, classes or source.class_names) if names else None,
        take=options.take,
        workers=options.workers,
        runner=options.runner,
        check_interrupted=check_interrupted,
    )


def command() -> None:
    """Runs the command, as `python -m pipelines.prepare` does."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
