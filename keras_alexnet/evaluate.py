"""Command: top-1 and top-5 error of a network, over every image of a split exactly once.

python -m keras_alexnet.evaluate --model=build/photos
python -m keras_alexnet.evaluate --model=bvlc_alexnet.npy --dataset=prepared_imagenet2012 --crops=ten
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_alexnet.model_flags import define_model_flags, load_model
from pipelines.choices import CROPS, DATASET_FORMS
from pipelines.cli import define_path, progress_bar, run

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_alexnet.pretrained import LoadedNetwork
    from keras_alexnet.training.evaluation import ErrorRates
    from pipelines.datasets.source import Source

_MAX_NAMED = 20
_WORST_CLASSES = 5


def define_flags() -> None:
    """Defines the flags of this command."""
    define_model_flags()
    flags.DEFINE_string("dataset", None, f"{DATASET_FORMS}; the dataset of the training by default")
    define_path("data_dir", None, "where TFDS keeps datasets; as in training by default")
    flags.DEFINE_string("split", "validation", "train, validation or test")
    flags.DEFINE_multi_enum("crops", list(CROPS), CROPS, "center crop, or the paper's ten crops; may be repeated")
    flags.DEFINE_alias("views", "crops")
    define_path("results_file", None, "CSV file to append to; results.csv in the run directory or here by default")
    flags.DEFINE_integer("batch_size", 32, "images per batch", 1, 100_000)
    flags.DEFINE_integer(
        "stochastic_passes",
        0,
        "average so many passes with random masks (networks with swapout); 0 for one pass with expected values",
        lower_bound=0,
        upper_bound=10_000,
    )
    flags.DEFINE_float("max_bad_fraction", 0.001, "fraction of the images that may be undecodable", 0.0, 1.0)


def evaluate(
    network: LoadedNetwork,
    dataset: str | Source | None = None,
    *,
    split: str = "validation",
    crops: str = "ten",
    data_dir: str | None = None,
    batch_size: int = 32,
    max_bad_fraction: float = 0.001,
    stochastic_passes: int = 0,
) -> ErrorRates:
    """Computes the error rates of a network over a split; shows a progress bar on a terminal.

    Predictions do not depend on the batch size (within 1e-6).

    Args:
      network: of `load_network`.
      dataset: see `pipelines.datasets.registry.open_source`; the dataset of the training by default.
      split: "train", "validation" or "test".
      crops: "ten" or "center".
      data_dir: where TFDS keeps datasets; as in training by default.
      batch_size: images per batch, at least 1.
      max_bad_fraction: fraction 0..1 of the images that may be undecodable; they are skipped and named on stderr.
      stochastic_passes: average so many passes with random masks, for a network with `layers.Swapout`; 0 for one pass
        with expected values.

    Raises:
      ValueError: the dataset or split does not exist, its classes are not the network's, an argument is out of range,
        or too many images cannot be decoded.

    Example:

    ```python
    rates = evaluate(load_network("build/photos"), crops="center")
    print(f"{rates.top1_error:.1%}")
    ```
    """
    from keras_alexnet.training.evaluation import Evaluator, mean_of_passes
    from pipelines.input import check_crop_size, evaluation_batches

    if crops not in CROPS:
        raise ValueError(f"crops={crops!r}: expected one of {', '.join(CROPS)}")
    source = open_evaluation_source(network, dataset, data_dir)
    images = source.splits[source.split(split)]
    if source.prepared and network.model is not None:
        check_crop_size(source, network.model.input_shape[1], source.size)
    batches = evaluation_batches(source, split, batch_size=batch_size, resize=network.resize, size=network.resized_size)
    options: dict[str, Any] = {"from_logits": network.from_logits, "preprocessing": network.preprocessing}
    classes: dict[str, Any] = {"confusion_classes": len(network.class_names) or len(source.class_names)}
    with contextlib.ExitStack() as stack:
        if stochastic_passes:
            stack.enter_context(_random_masks(network, stochastic_passes))
            evaluator = Evaluator(mean_of_passes(network.model, crops, stochastic_passes, **options), **classes)
        elif network.model is None:
            evaluator = Evaluator(export_probabilities(network.signatures or {}, crops), **classes)
        else:
            evaluator = Evaluator(network.model, crops, **options, **classes)
        bar = stack.enter_context(progress_bar(f"{crops} crop{'s' if crops == 'ten' else ''}", images))
        rates = evaluator(batches, bar.update)
    for key in rates.bad[:_MAX_NAMED]:
        print(f"skipped {key}: cannot be decoded", file=sys.stderr)
    allowed = int(max_bad_fraction * images)
    if not rates.images or len(rates.bad) > allowed:
        raise ValueError(
            f"max_bad_fraction={max_bad_fraction:g}: {len(rates.bad)} of {images} images cannot be decoded "
            f"({', '.join(rates.bad[:3])}); expected at most {allowed}"
        )
    return rates


def _random_masks(network: LoadedNetwork, passes: int) -> contextlib.AbstractContextManager[None]:
    from keras_alexnet.layers import Swapout, stochastic_inference

    if network.model is None:
        raise ValueError(
            f"stochastic_passes={passes}: an export draws no masks; expected a run directory or a .keras file"
        )
    if not any(isinstance(layer, Swapout) for layer in network.model.layers):
        raise ValueError(f"stochastic_passes={passes}: {network.model.name} has no random masks; expected 0")
    return stochastic_inference(network.model)


def open_evaluation_source(network: LoadedNetwork, dataset: str | Source | None, data_dir: str | None) -> Source:
    """Opens the dataset to evaluate on, with its classes in the network's order.

    Raises:
      ValueError: there is no such dataset, or its classes are not the network's.
    """
    from pipelines.datasets.class_order import reordered
    from pipelines.datasets.registry import open_source

    trained_on = network.training.get("dataset")
    dataset = dataset or trained_on
    if not dataset:
        raise ValueError("dataset is missing: the model does not name the dataset of its training")
    if isinstance(dataset, str):
        fraction = network.training.get("validation_fraction") if dataset == trained_on else None
        data_dir = data_dir or network.training.get("data_dir")
        source = open_source(dataset, data_dir, validation_fraction=fraction or None)
    else:
        source = dataset
    known = network.class_names
    if not known and network.model is not None:
        # Without names only their number can be checked.
        known = source.class_names[: network.model.output_shape[-1]]
    known = known[: len(source.class_names)]
    if sorted(known) == sorted(source.class_names):
        source = reordered(source, known)
    for label, (expected, found) in enumerate(zip(known, source.class_names, strict=False)):
        if expected != found:
            raise ValueError(f"dataset={source.name}: class {label} is {found!r}, but {expected!r} in the network")
    if len(known) < len(source.class_names):
        raise ValueError(f"dataset={source.name}: has {len(source.class_names)} classes, but the network {len(known)}")
    return source


def export_probabilities(signatures: Mapping[str, Any], crops: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function from resized images uint8 `[N, R, R, 3]` to probabilities `[N, classes]` of an export.

    Args:
      signatures: of the loaded SavedModel.
      crops: "ten" or "center".

    Raises:
      ValueError: the export has no signature for these crops.
    """
    import tensorflow as tf

    from serving import signatures as wire

    name = wire.SIGNATURE_IMAGES if crops == "ten" else wire.SIGNATURE_CENTER
    if name not in signatures:
        raise ValueError(
            f"crops={crops}: the export has no signature {name!r}; found {', '.join(signatures) or 'none'}"
        )
    function = signatures[name]

    def ten_crop(images: tf.Tensor) -> tf.Tensor:
        return function(**{wire.INPUT_IMAGES: images})[wire.OUTPUT_PROBABILITIES]

    def center_crop(images: tf.Tensor) -> tf.Tensor:
        # This signature takes files; PNG is lossless, and an image of this size is not resized again.
        files = tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)
        return function(**{wire.INPUT_BYTES: files})[wire.OUTPUT_PROBABILITIES]

    return ten_crop if crops == "ten" else center_crop


def print_rates(rates: ErrorRates, crops: str, where: str, names: Sequence[str]) -> None:
    """Prints the error rates of one evaluation, and the classes with the largest errors."""
    print(
        f"{crops:6} {rates.images} images of {where} ({rates.skipped} skipped): top-1 error {rates.top1_error:.2%}, "
        f"top-5 error {rates.top5_error:.2%}, mean over classes {rates.macro_error:.2%}, "
        f"calibration error {rates.calibration_error:.2%}"
    )
    errors = {name: error for name, error in zip(names, rates.class_errors, strict=False) if error > 0}
    worst = sorted(errors, key=lambda name: -errors[name])[:_WORST_CLASSES]
    if worst and len(names) > 1:
        print(f"       largest errors: {', '.join(f'{name} {errors[name]:.1%}' for name in worst)}", flush=True)


def main(argv: Sequence[str]) -> None:
    """Evaluates, prints and appends one row for each kind of crops."""
    options = flags.FLAGS
    from keras_alexnet.training.results_file import COLUMNS, append_result, write_class_errors

    network = load_model(options)
    source = open_evaluation_source(network, options.dataset, options.data_dir)
    is_run = Path(options.model, "model.json").is_file()
    results_file = Path(options.results_file or (Path(options.model, "results.csv") if is_run else "results.csv"))
    names = ("batch_size", "max_bad_fraction", "stochastic_passes")
    limits = {name: getattr(options, name) for name in names}
    found: dict[str, ErrorRates] = {}
    for crops in dict.fromkeys(options.crops):
        rates = found[crops] = evaluate(network, source, split=options.split, crops=crops, **limits)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        evaluated = f"{crops} x{options.stochastic_passes}" if options.stochastic_passes else crops
        row = (now, options.model, network.steps, source.name, options.split, evaluated, rates.images, rates.skipped)
        numbers = (rates.top1_error, rates.top5_error, rates.loss, rates.macro_error, rates.calibration_error)
        append_result(results_file, dict(zip(COLUMNS, (*row, *numbers), strict=True)))
        print_rates(rates, evaluated, f"{source.name} {options.split}", source.class_names)
    classes_file = results_file.with_name(f"{results_file.stem}_classes.csv")
    write_class_errors(classes_file, source.class_names, found)
    print(f"appended to {results_file}; the errors of all classes are in {classes_file}")


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
