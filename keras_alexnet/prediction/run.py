"""Predicts all images of an input into one file: resumes, divides the work into shards, joins the parts."""

import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import keras_alexnet
from keras_alexnet.prediction.formats import Columns, find_format
from keras_alexnet.prediction.images import Inputs, Part
from keras_alexnet.prediction.parts import PartStore
from keras_alexnet.prediction.predictor import Prediction, Predictor, Settings
from keras_alexnet.pretrained import CARD_FILE, LoadedNetwork, export_version
from keras_alexnet.saved_model.served_signatures import class_labels
from pipelines.choices import RUNNERS
from pipelines.cli.progress import progress_bar


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
      images: number of images in the output, or of this shard.
      computed: of these, now; the others were computed before.
      seconds: which that took, without loading the network.
      invalid: images that could not be read or decoded.
    """

    images: int
    computed: int
    seconds: float
    invalid: int


def predict_to_file(
    load: Callable[[], LoadedNetwork],
    inputs: Inputs,
    output: Path,
    settings: Settings,
    *,
    batch_size: int = 32,
    shard: tuple[int, int] | None = None,
    runner: str = "local",
) -> Summary:
    """Writes the predictions of all images to `output`; shows a progress bar on a terminal.

    Interrupted at any moment and called again with the same arguments, it resumes, and ends with the same output. Only
    `batch_size` and `runner` may differ.

    Args:
      load: loads the network. For the runner "ray" it must be possible to pickle it.
      inputs: of `find_inputs`.
      output: path that does not exist yet, ending in .csv, .jsonl or .parquet.
      settings: what to predict.
      batch_size: images per call of the network, at least 1.
      shard: (i, n) computes part i of n of the work, 0 <= i < n, and joins nothing; `merge` does.
      runner: one of `choices.RUNNERS`.

    Raises:
      ValueError: an argument is wrong, the output exists or cannot be written, or parts of another prediction exist.
    """
    if runner not in RUNNERS:
        raise ValueError(f"runner={runner!r}: expected one of {', '.join(RUNNERS)}")
    if runner == "ray":
        # Before the directory of the parts is created.
        from pipelines.ray_runner import check_ray, run_on_ray

        check_ray()
    store = PartStore(output.absolute())
    find_format(output)
    network = _load_without_gpus(load) if runner == "ray" else load()
    predictor = Predictor(network, settings, batch_size)
    columns = Columns(predictor.top_k, predictor.feature_size)
    index, count = shard or (0, 1)
    user = f"shard-{index}-of-{count}" if shard else "all"
    parts = inputs.parts[index::count]
    with store.opened(_manifest(network, inputs, settings, columns), user):
        store.remove_temporary({part.index for part in parts})
        stored = store.stored()
        pending = [part for part in parts if part.index not in stored]
        work: Iterable[int]
        if runner == "ray":
            work = run_on_ray(functools.partial(PartWriter, load, settings, batch_size, store), pending)
        else:
            work = write_parts(predictor, pending, store)
        images, computed = sum(part.size for part in parts), sum(part.size for part in pending)
        seconds = _follow(work, images, images - computed)
        if shard:
            stored = store.stored()
            invalid = sum(stored[part.index][1] for part in parts)
        else:
            invalid = store.join(len(inputs.parts), columns)
    return Summary(images, computed, seconds, invalid)


def merge(output: Path) -> Summary:
    """Joins the parts that shards have computed.

    Args:
      output: as for the shards.

    Raises:
      ValueError: there are no parts, some are missing, or the output cannot be written.
    """
    store = PartStore(output.absolute())
    find_format(output)
    with store.opened(None, "all") as manifest:
        invalid = store.join(manifest["parts"], Columns(**manifest["columns"]))
    return Summary(manifest["size"], 0, 0.0, invalid)


def write_parts(predictor: Predictor, parts: Sequence[Part], store: PartStore) -> Iterator[int]:
    """Computes and writes parts; yields the number of images after each batch."""
    columns = Columns(predictor.top_k, predictor.feature_size)
    batches = predictor.predict_groups((part, part.images()) for part in parts)
    written = set()
    for index, group in itertools.groupby(batches, key=lambda batch: batch[0].index):
        predictions: list[Prediction] = []
        for _, batch in group:
            predictions += batch
            yield len(batch)
        store.write(index, predictions, columns)
        written.add(index)
    for part in parts:
        if part.index not in written:  # a shard of a dataset without any image
            store.write(part.index, [], columns)


class PartWriter:
    """Computes and writes parts in a process of its own.

    Args:
      load, settings, batch_size, store: see `predict_to_file`.
    """

    def __init__(
        self, load: Callable[[], LoadedNetwork], settings: Settings, batch_size: int, store: PartStore
    ) -> None:
        self._predictor, self._store = Predictor(load(), settings, batch_size), store

    def __call__(self, part: Part) -> int:
        """Returns the number of images; a part that exists is not computed again."""
        if part.index not in self._store.stored():
            return sum(write_parts(self._predictor, [part], self._store))
        return part.size


def _load_without_gpus(load: Callable[[], LoadedNetwork]) -> LoadedNetwork:
    """Leaves the memory of GPUs to the workers on this machine."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return load()


def _follow(work: Iterable[int], images: int, completed: int) -> float:
    """Shows the progress; returns the seconds that it took."""
    begin, before = time.monotonic(), completed
    with progress_bar("predicting", images, completed=completed) as bar:
        for count in work:
            completed += count
            rate = (completed - before) / max(time.monotonic() - begin, 1e-3)
            bar.update(completed, f"{rate:.1f} images/s")
    return time.monotonic() - begin


def _manifest(network: LoadedNetwork, inputs: Inputs, settings: Settings, columns: Columns) -> dict[str, Any]:
    return {
        "version": keras_alexnet.__version__,
        "model": model_fingerprint(network),
        "images": inputs.fingerprint,
        **asdict(settings),
        "columns": asdict(columns),
        "parts": len(inputs.parts),
        "size": inputs.size,
    }


def model_fingerprint(network: LoadedNetwork) -> str:
    """Differs for any other network: its weights, what is done to its images, and its labels."""
    digest = hashlib.sha256(repr(class_labels(network)).encode())
    if network.model is None:
        version = export_version(Path(network.source))
        assert version is not None
        for path in sorted(path for path in version.rglob("*") if path.is_file()):
            # Neither the model card nor the warm-up requests, in the same directory, have any effect.
            if CARD_FILE.parent not in path.relative_to(version).parents:
                digest.update(path.relative_to(version).as_posix().encode())
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()
    preprocessing = getattr(network.preprocessing, "__qualname__", network.preprocessing)
    digest.update(repr((network.from_logits, preprocessing, network.resize, network.resized_size)).encode())
    for weight in network.model.weights:
        digest.update(repr(weight.shape).encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
