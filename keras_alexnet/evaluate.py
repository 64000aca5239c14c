"""Command: top-1 and top-5 error of a network, over every image of a split exactly once.

python -m keras_alexnet.evaluate --model=build/photos
python -m keras_alexnet.evaluate --model=bvlc_alexnet.npy --dataset=prepared_imagenet2012 --crops=ten
python -m keras_alexnet.evaluate --model=runs/0 --model=runs/1
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_alexnet.model_flags import define_model_flags, load_models
from pipelines.choices import CROPS, DATASET_FORMS, EVALUATION_CROPS
from pipelines.cli import define_path, run
from pipelines.cli.progress import progress_bar
from pipelines.cli.safe_text import printable

if TYPE_CHECKING:
    from keras_alexnet.pretrained import LoadedNetwork
    from keras_alexnet.training.evaluation import ErrorRates, Probabilities
    from pipelines.datasets.source import Source

_MAX_NAMED = 20
_WORST_CLASSES = 5


def define_flags() -> None:
    """Defines the flags of this command."""
    define_model_flags(several=True)
    flags.DEFINE_string("dataset", None, f"{DATASET_FORMS}; by default the dataset it was trained on")
    define_path("data_dir", None, "where TFDS keeps datasets; as in training by default")
    flags.DEFINE_string("split", "validation", "train, validation or test")
    flags.DEFINE_multi_enum(
        "crops",
        None,
        EVALUATION_CROPS,
        "center crop, the paper's ten crops, or nine: a grid of 3 x 3 without flips; may be repeated. By default "
        "center and ten, and nine for networks that were published with it",
    )
    flags.DEFINE_alias("views", "crops")
    define_path("results_file", None, "CSV file to append to; results.csv in the run directory or here by default")
    flags.DEFINE_integer("batch_size", 32, "images per batch", 1, 100_000)
    flags.DEFINE_integer(
        "stochastic_passes",
        0,
        "number of passes with random masks to average (networks with swapout); 0: one pass with expected values",
        lower_bound=0,
        upper_bound=10_000,
    )
    flags.DEFINE_float("max_bad_fraction", 0.001, "fraction of the images that may be undecodable", 0.0, 1.0)


def evaluate(
    network: LoadedNetwork | Sequence[LoadedNetwork],
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

    The class probabilities of several networks are averaged, after the softmax and over the crops (paper, Tables 1 and
    2). Predictions do not depend on the batch size (within 1e-6).

    Args:
      network: as returned by `load_network`; or several, with the same classes in the same order and the same resized
        images.
      dataset: see `pipelines.datasets.registry.open_source`; the dataset of the training by default.
      split: "train", "validation" or "test".
      crops: "ten", "center", or "nine" for a grid of 3 x 3 crops, which exports do not have.
      data_dir: where TFDS keeps datasets; as in training by default.
      batch_size: images per batch, at least 1.
      max_bad_fraction: fraction 0..1 of the images that may be undecodable; they are skipped and named on stderr.
      stochastic_passes: number of passes with random masks to average, for a network with `layers.Swapout`; 0 for one
        pass with expected values.

    Raises:
      ValueError: the dataset or split does not exist, its classes are not the network's, an argument is out of range,
        too many images cannot be decoded, or networks cannot be averaged.

    Example:

    ```python
    rates = evaluate(load_network("build/photos"), crops="center")
    print(f"{rates.top1_error:.1%}")
    average = evaluate([load_network("runs/0"), load_network("runs/1")])
    ```
    """
    from keras_alexnet.training.evaluation import Evaluator, mean_of_networks
    from pipelines.input import check_crop_size, evaluation_batches

    if crops not in EVALUATION_CROPS:
        raise ValueError(f"crops={crops!r}: expected one of {', '.join(EVALUATION_CROPS)}")
    networks = _as_list(network)
    source = open_evaluation_source(networks, dataset, data_dir)
    images, first = source.splits[source.split(split)], networks[0]
    for each in networks:
        if source.prepared and each.model is not None:
            check_crop_size(source, each.model.input_shape[1], source.size)
    batches = evaluation_batches(source, split, batch_size=batch_size, resize=first.resize, size=first.resized_size)
    # Without class names a network may have more outputs than the dataset has classes.
    classes = len(first.class_names) if first.model is None else first.model.output_shape[-1]
    with contextlib.ExitStack() as stack:
        scores = [_probabilities(each, crops, stochastic_passes, stack) for each in networks]
        evaluator = Evaluator(mean_of_networks(scores), confusion_classes=classes)
        bar = stack.enter_context(progress_bar(f"{crops} crop{'s' * (crops != 'center')}", images))
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


def _as_list(network: LoadedNetwork | Sequence[LoadedNetwork]) -> list[LoadedNetwork]:
    """The networks, which can be averaged."""
    from keras_alexnet.pretrained import LoadedNetwork, check_average

    networks = [network] if isinstance(network, LoadedNetwork) else list(network)
    check_average(networks)
    return networks


def _probabilities(network: LoadedNetwork, crops: str, passes: int, stack: contextlib.ExitStack) -> Probabilities:
    """The function from resized images to probabilities; `stack` keeps random masks on for stochastic passes."""
    from keras_alexnet.pretrained import network_probabilities
    from keras_alexnet.training.evaluation import mean_of_passes

    if not passes:
        return network_probabilities(network, crops)
    stack.enter_context(_random_masks(network, passes))
    options: dict[str, Any] = {"from_logits": network.from_logits, "preprocessing": network.preprocessing}
    return mean_of_passes(network.model, crops, passes, **options)


def _random_masks(network: LoadedNetwork, passes: int) -> contextlib.AbstractContextManager[None]:
    from keras_alexnet.layers import Swapout, stochastic_inference
    from keras_alexnet.layers.nested import all_layers

    if network.model is None:
        raise ValueError(
            f"stochastic_passes={passes}: an export draws no masks; expected a run directory or a .keras file"
        )
    if not any(isinstance(layer, Swapout) for layer in all_layers(network.model)):
        raise ValueError(f"stochastic_passes={passes}: {network.model.name} has no random masks; expected 0")
    return stochastic_inference(network.model)


def open_evaluation_source(
    network: LoadedNetwork | Sequence[LoadedNetwork], dataset: str | Source | None, data_dir: str | None
) -> Source:
    """Opens the dataset to evaluate on, with its classes in the order of the network, or of the networks.

    Raises:
      ValueError: there is no such dataset, its classes are not the network's, or networks cannot be averaged or were
        trained on different datasets and `dataset` is None.
    """
    from pipelines.datasets.class_order import reordered
    from pipelines.datasets.registry import open_source

    first, *others = _as_list(network)
    trained_on = first.training.get("dataset")
    for name in ("dataset", "validation_fraction") if not dataset else ():
        if any((other.training.get(name) or None) != (first.training.get(name) or None) for other in others):
            raise ValueError(f"dataset is missing: the models were not trained with the same {name}")
    dataset = dataset or trained_on
    if not dataset:
        raise ValueError("dataset is missing: the model does not name the dataset of its training")
    if isinstance(dataset, str):
        fraction = first.training.get("validation_fraction") if dataset == trained_on else None
        data_dir = data_dir or first.training.get("data_dir")
        source = open_source(dataset, data_dir, validation_fraction=fraction or None)
    else:
        source = dataset
    known = first.class_names
    if not known and first.model is not None:
        # Without names only their number can be checked.
        known = source.class_names[: first.model.output_shape[-1]]
    known = known[: len(source.class_names)]
    if sorted(known) == sorted(source.class_names):
        source = reordered(source, known)
    for label, (expected, found) in enumerate(zip(known, source.class_names, strict=False)):
        if expected != found:
            raise ValueError(f"dataset={source.name}: class {label} is {found!r}, but {expected!r} in the network")
    if len(known) < len(source.class_names):
        raise ValueError(f"dataset={source.name}: has {len(source.class_names)} classes, but the network {len(known)}")
    return source


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
        print(
            f"       largest errors: {', '.join(f'{printable(name)} {errors[name]:.1%}' for name in worst)}", flush=True
        )


def main(argv: Sequence[str]) -> None:
    """Evaluates, prints and appends one row for each kind of crops."""
    options = flags.FLAGS
    from keras_alexnet.training.results_file import COLUMNS, append_result, check_results_file, write_class_errors

    networks, models = load_models(options), " + ".join(options.model)
    source = open_evaluation_source(networks, options.dataset, options.data_dir)
    is_run = len(networks) == 1 and Path(options.model[0], "model.json").is_file()
    results_file = Path(options.results_file or (Path(options.model[0], "results.csv") if is_run else "results.csv"))
    check_results_file(results_file)
    if len(networks) > 1:
        print(f"average of {len(networks)} networks: {models}")
    names = ("batch_size", "max_bad_fraction", "stochastic_passes")
    limits = {name: getattr(options, name) for name in names}
    found: dict[str, ErrorRates] = {}
    for crops in dict.fromkeys(options.crops or default_crops(networks)):
        rates = found[crops] = evaluate(networks, source, split=options.split, crops=crops, **limits)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        evaluated = f"{crops} x{options.stochastic_passes}" if options.stochastic_passes else crops
        steps = " + ".join(str(network.steps) for network in networks)
        row = (now, models, steps, source.name, options.split, evaluated, rates.images, rates.skipped)
        numbers = (rates.top1_error, rates.top5_error, rates.loss, rates.macro_error, rates.calibration_error)
        print_rates(rates, evaluated, f"{source.name} {options.split}", source.class_names)
        append_result(results_file, dict(zip(COLUMNS, (*row, *numbers), strict=True)))
    classes_file = results_file.with_name(f"{results_file.stem}_classes.csv")
    write_class_errors(classes_file, source.class_names, found)
    print(f"appended to {results_file}; the errors of all classes are in {classes_file}")


def default_crops(networks: Sequence[LoadedNetwork]) -> list[str]:
    """Centre and ten crops, and the authors' own crops if all networks have the same."""
    from keras_alexnet.networks import find

    published = {find(network.network).published_crops if network.network else None for network in networks}
    return [*CROPS, *(crops for crops in published if crops and len(published) == 1)]


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
