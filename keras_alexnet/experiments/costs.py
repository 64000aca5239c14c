"""What a network costs, whatever its weights: one row per network in <comparison>_costs.csv."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_alexnet.experiments.commands import run_command
from keras_alexnet.experiments.comparison import Entry
from keras_alexnet.experiments.results import add_row, read_rows
from keras_alexnet.networks import create
from keras_alexnet.provenance import processor
from serving import signatures as wire

# Requests of one image: at least this many, and as many more as fit these seconds. The fastest counts the least noise
# of other processes.
_REQUESTS, _SECONDS = 10, 3.0


@dataclass(frozen=True)
class Costs:
    """Costs of a network for the classes of one dataset.

    Attributes:
      run: the network with its changes in file names, the key.
      network: the same as it was named.
      classes: number of classes.
      image_size: side of its images in pixels.
      parameters: trainable ones, of the main output.
      multiply_adds: for one crop.
      ms_center, ms_ten_crop: wall time of a request with one image to the exported model, in the same process, decoding
        included: the fastest of ten or more, in milliseconds.
      cpu_ms_center, cpu_ms_ten_crop: processor time of the same, of all cores; median.
      export_mb: size of the SavedModel in 10^6 bytes.
      processor: name, number of cores and instruction sets; see `provenance.processor`.
    """

    run: str
    network: str
    classes: int
    image_size: int
    parameters: int
    multiply_adds: int
    ms_center: float
    ms_ten_crop: float
    cpu_ms_center: float
    cpu_ms_ten_crop: float
    export_mb: float
    processor: str

    @property
    def key(self) -> str:
        """What identifies the row."""
        return self.run


def costs_path(directory: Path, comparison: str) -> Path:
    """The file of the costs of a comparison."""
    return directory / f"{comparison}_costs.csv"


def read_costs(directory: Path, comparison: str) -> dict[str, Costs]:
    """The rows of a comparison by `Costs.run`, in the order of the file; empty if there are none."""
    return {row.run: row for row in read_rows(costs_path(directory, comparison), Costs)}


def measure_costs(
    entry: Entry,
    classes: int,
    run_dir: Path | None,
    results_dir: Path,
    comparison: str,
    report: Callable[[str], None] = print,
) -> None:
    """Exports a network, measures it and adds its row, unless it has one already.

    Args:
      entry: the network.
      classes: number of classes.
      run_dir: its training; None to export it with random weights.
      results_dir: gets the row.
      comparison: name of the comparison.
      report: gets one line.

    Raises:
      ValueError: the network cannot be exported.
    """
    if entry.run_name in read_costs(results_dir, comparison):
        return
    report(f"measuring {entry.text}")
    with tempfile.TemporaryDirectory() as folder:
        if run_dir is not None:
            run_command("keras_alexnet.export", f"--model={run_dir}", f"--export_base={folder}", "--version=1")
        else:
            _export_untrained(entry, classes, folder)
        row = _measure(entry, classes, Path(folder, "1"))
    add_row(costs_path(results_dir, comparison), row)


def _export_untrained(entry: Entry, classes: int, folder: str) -> None:
    from keras_alexnet.saved_model.export import export_model

    network = entry.network
    model = create(network.name, classes, classifier_activation=None, **entry.built_with)
    export_model(
        model,
        folder,
        [f"class {index}" for index in range(classes)],
        version=1,
        preprocessing="none",
        from_logits=True,
        resize=network.resize_policy,
        resize_size=network.resized_size(entry.image_size),
    )


def _measure(entry: Entry, classes: int, version: Path) -> Costs:
    import keras
    import tensorflow as tf

    from keras_alexnet.classifier import parameters
    from keras_alexnet.describe import multiply_adds

    exported = tf.saved_model.load(str(version))
    model = create(entry.network.name, classes, **entry.built_with)
    center, center_cpu = _times(exported.signatures[wire.SIGNATURE_CENTER])
    ten_crop, ten_crop_cpu = _times(exported.signatures[wire.SIGNATURE_TEN_CROP])
    row = Costs(
        run=entry.run_name,
        network=entry.text,
        classes=classes,
        image_size=model.input_shape[1],
        parameters=parameters(model),
        multiply_adds=multiply_adds(model),
        ms_center=center,
        ms_ten_crop=ten_crop,
        cpu_ms_center=center_cpu,
        cpu_ms_ten_crop=ten_crop_cpu,
        export_mb=sum(path.stat().st_size for path in version.rglob("*") if path.is_file()) / 1e6,
        processor=processor(),
    )
    keras.backend.clear_session()
    return row


def _times(signature: Callable[..., object]) -> tuple[float, float]:
    """Wall and processor time of a request with one JPEG of 256 x 256 pixels, in milliseconds."""
    import numpy as np
    import tensorflow as tf

    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    request = {wire.INPUT_BYTES: tf.constant([tf.io.encode_jpeg(pixels).numpy()])}
    signature(**request)  # The first one includes the start.
    wall: list[float] = []
    processor_time: list[float] = []
    while len(wall) < _REQUESTS or sum(wall) < 1000 * _SECONDS:
        before, cpu_before = time.perf_counter(), time.process_time()
        signature(**request)
        wall.append(1000 * (time.perf_counter() - before))
        processor_time.append(1000 * (time.process_time() - cpu_before))
    return min(wall), statistics.median(processor_time)
