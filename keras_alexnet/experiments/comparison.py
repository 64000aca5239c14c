"""Networks under equal conditions: an experiment with one run for each, and what each costs."""

import csv
import dataclasses
import io
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet import networks
from keras_alexnet.describe import multiply_adds
from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.published import CIFAR10
from keras_alexnet.experiments.results import Result
from keras_alexnet.experiments.runner import run_command
from keras_alexnet.networks import Network
from keras_alexnet.variants import VARIANTS
from serving import signatures as wire

NAME = "comparison"

# The survey's conditions: momentum 0.9 (the optimizer's default), batch 128, learning rate 0.1 divided by 10 at 1/2 and
# 3/4 of the epochs.
_FLAGS = ("--batch_size=128", "--schedule=step")
_LEARNING_RATE = 0.1
# Networks without batch normalization do not train at 0.1.
_OWN_LEARNING_RATES = {
    **dict.fromkeys(VARIANTS, 0.01),
    **dict.fromkeys(("convnet_13pct", "convnet_13pct_lrn", "convnet_11pct", "figure1_convnet"), 0.001),
    **dict.fromkeys(("lenet5", "nin", "nin_imagenet", "zfnet", "googlenet", "squeezenet", "squeezenet_v1_1"), 0.01),
    **dict.fromkeys(("keras.applications.VGG16", "keras.applications.VGG19"), 0.01),
}
# Requests of one image; the fastest of so many counts the least noise.
_REQUESTS = 5


@dataclass(frozen=True)
class Row:
    """A network in the comparison. Errors are fractions 0..1.

    Attributes:
      network: its name.
      seeds: number of runs whose mean the errors are.
      center_top1_error, ten_crop_top1_error, train_top1_error: after the last epoch.
      parameters: trainable ones, of the main output.
      multiply_adds: for one image.
      cpu_ms_center, cpu_ms_ten_crop: processor time for one image in a request of its own, decoding included.
      export_mb: size of the SavedModel in 10^6 bytes.
      cpu_hours: of one training.
      learning_rate: initial.
      survey_error, authors_error: reported for CIFAR-10 with longer training, as fractions; None if nothing is.
    """

    network: str
    seeds: int
    center_top1_error: float
    ten_crop_top1_error: float
    train_top1_error: float
    parameters: int
    multiply_adds: int
    cpu_ms_center: float
    cpu_ms_ten_crop: float
    export_mb: float
    cpu_hours: float
    learning_rate: float
    survey_error: float | None
    authors_error: float | None


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


def comparison(
    names: Sequence[str], dataset: str, epochs: int, learning_rates: Mapping[str, float] | None = None
) -> Experiment:
    """The experiment that trains each network once per seed, all with the same flags.

    Args:
      names: of networks, see `networks.find`.
      dataset: see `Experiment.dataset`.
      epochs: passes over the training images.
      learning_rates: initial learning rates of some networks, in place of 0.1, or 0.01 and less without batch
        normalization.

    Raises:
      ValueError: there is no such network, one is named twice, or `learning_rates` has one that is not compared.
    """
    found = [networks.find(name) for name in names]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"networks={','.join(names)}: expected different names of networks")
    rates = dict(learning_rates or {})
    unknown = rates.keys() - set(names)
    if unknown:
        raise ValueError(f"learning_rates={','.join(sorted(unknown))}: expected some of {', '.join(names)}")
    return Experiment(
        name=NAME,
        title="Comparison",
        claim="Networks trained with the same flags.",
        dataset=dataset,
        image_size=max(network.resize_size for network in found),
        flags=(*_FLAGS, f"--step_epochs={_steps(epochs)}", f"--epochs={epochs}"),
        runs=tuple(_run(network, rates.get(network.name)) for network in found),
    )


def run_name(network: str) -> str:
    """The network in file names."""
    return "".join(c if c.isalnum() else "_" for c in network)


def learning_rate(network: str) -> float:
    """The initial learning rate by default."""
    return _OWN_LEARNING_RATES.get(network, _LEARNING_RATE)


def rows(
    names: Sequence[str],
    results: Sequence[Result],
    run_dirs: Callable[[Result], Path],
    export_dir: Path,
    report: Callable[[str], None] = print,
) -> Iterator[Row]:
    """Exports and measures each network that has results.

    Args:
      names: of the networks.
      results: of their runs.
      run_dirs: gives the run directory of a result; it must still exist.
      export_dir: gets the exports.
      report: gets one line for each network.
    """
    for name in names:
        own = [result for result in results if result.run == run_name(name)]
        if not own:
            continue
        report(f"measuring {name}")
        base = export_dir / run_name(name)
        if not (base / "1").is_dir():
            run_command("keras_alexnet.export", f"--model={run_dirs(own[0])}", f"--export_base={base}", "--version=1")
        exported = tf.saved_model.load(str(base / "1"))
        classes = exported.signatures[wire.SIGNATURE_CENTER].structured_outputs[wire.OUTPUT_PROBABILITIES].shape[-1]
        model = networks.create(name, classes=classes)
        yield Row(
            network=name,
            seeds=len(own),
            center_top1_error=statistics.mean(result.center_top1_error for result in own),
            ten_crop_top1_error=statistics.mean(result.ten_crop_top1_error for result in own),
            train_top1_error=statistics.mean(result.train_top1_error for result in own),
            parameters=sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
            multiply_adds=multiply_adds(model),
            cpu_ms_center=_cpu_ms(exported.signatures[wire.SIGNATURE_CENTER]),
            cpu_ms_ten_crop=_cpu_ms(exported.signatures[wire.SIGNATURE_TEN_CROP]),
            export_mb=sum(path.stat().st_size for path in (base / "1").rglob("*") if path.is_file()) / 1e6,
            cpu_hours=statistics.mean(result.cpu_hours for result in own),
            learning_rate=_rate_of(own[0]),
            **_reported(name),
        )
        del exported, model
        keras.backend.clear_session()


def csv_text(found: Sequence[Row]) -> str:
    """The rows as a CSV file."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in found:
        values = dataclasses.asdict(row)
        table.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()})
    return text.getvalue()


def _steps(epochs: int) -> str:
    """The half and three quarters of the epochs, where a run is long enough to have them."""
    return ",".join(map(str, sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)})))


def _run(network: Network, rate: float | None) -> Run:
    # Networks of small images take them whole; the others crop 224 of 256, as AlexNet.
    augmentation = "pad4" if network.image_size == network.resize_size else "crop"
    rate = learning_rate(network.name) if rate is None else rate
    flags = (f"--network={network.name}", f"--learning_rate={rate:g}", f"--augmentation={augmentation}")
    return Run(run_name(network.name), flags, network.name)


def _rate_of(result: Result) -> float:
    return next(float(word.split("=")[1]) for word in result.command.split() if word.startswith("--learning_rate="))


def _reported(name: str) -> dict[str, float | None]:
    reported = CIFAR10.get(name)
    survey, authors = (reported.survey, reported.authors) if reported else (None, None)
    return {
        "survey_error": survey and round(survey / 100, 6),
        "authors_error": authors and round(authors / 100, 6),
    }


def _cpu_ms(signature: Callable[..., object]) -> float:
    """Processor time of a request with one image of 256 x 256 pixels, in milliseconds."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    request = {wire.INPUT_BYTES: tf.constant([tf.io.encode_jpeg(pixels).numpy()])}
    times = []
    for _ in range(_REQUESTS + 1):
        before = time.process_time()
        signature(**request)
        times.append(1000 * (time.process_time() - before))
    return statistics.median(times[1:])  # the first one includes the start
