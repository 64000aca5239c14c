"""The figures of `python -m keras_alexnet.visualize`: from a network and its data to a matplotlib figure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_alexnet import plots
from keras_alexnet.classifier import parameters
from keras_alexnet.evaluate import open_evaluation_source
from keras_alexnet.experiments.results import read_curve
from keras_alexnet.pretrained import LoadedNetwork
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.visualize import neighbours, photographs, scoring, trace
from pipelines.cli.progress import progress_bar
from pipelines.datasets.source import Source
from pipelines.images.crops import center_crop
from pipelines.input import evaluation_batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# As many as in the paper's Figure 4, and most of those that the user names.
_PREDICTIONS, _QUERIES, _NEIGHBOURS, _MOST = 8, 5, 6, 40
_SUMMARY, _MISTAKES = 12, 12


@dataclass(frozen=True)
class Request:
    """What to draw.

    Attributes:
      model: path of the network.
      network: what `load_network` returned for it.
      dataset, data_dir, split: see `evaluate`; by default the dataset of the training.
      images: files, directories or patterns in place of the split; may be empty.
      layer: of activations and neighbours; None for the default.
      crops: "center" or "ten".
      features_file: of neighbours; None for the training images.
    """

    model: str
    network: LoadedNetwork
    dataset: str | None = None
    data_dir: str | None = None
    split: str = "validation"
    images: tuple[str, ...] = ()
    layer: str | None = None
    crops: str = "center"
    features_file: str | None = None

    def source(self) -> Source:
        """The dataset."""
        return open_evaluation_source(self.network, self.dataset, self.data_dir)

    def photographs(self, count: int, most: int = _MOST) -> list[photographs.Photograph]:
        """The files that the user names, or `count` photographs of the split."""
        if self.images:
            return photographs.read_files(self.network, self.images, most)
        return photographs.sample(self.network, self.source(), self.split, count)

    def class_names(self, classes: int) -> list[str]:
        """Names to be printed, one per class: "Egyptian cat", not "n02124075 Egyptian cat"."""
        names = self.network.display_names or self.network.class_names
        if len(names) != classes:
            return [f"class {index}" for index in range(classes)]
        prefixes = self.network.class_names or names
        pairs = zip(names, prefixes, strict=True)
        return [name.removeprefix(f"{prefix} ") for name, prefix in pairs]

    def title(self, model: keras.Model) -> str:
        """The network's name, or that of a model whose network is unknown."""
        return self.network.network or model.name

    def where(self) -> str:
        """The crops and images that a figure shows, for its caption."""
        crops = "ten crops" if self.crops == "ten" else "centre crop"
        return crops if self.images else f"{self.split} images, {crops}"


def kernels(request: Request) -> Figure:
    """The kernels of the first convolution."""
    model = request.network.keras_model()
    towers = trace.first_convolution(model, request.network.preprocessing)
    return plots.kernels_figure(towers, f"Kernels of the first convolution: {request.title(model)}")


def predictions(request: Request) -> Figure:
    """Photographs and their best classes."""
    return plots.predictions_figure(**_predictions(request, _PREDICTIONS))


def _predictions(request: Request, count: int) -> dict[str, Any]:
    shown = request.photographs(count)
    scores = scoring.probabilities(request.network, request.crops)(np.stack([each.image for each in shown]))
    return {
        "images": [each.image for each in shown],
        "probabilities": scores,
        "class_names": request.class_names(scores.shape[1]),
        "labels": [each.label for each in shown],
        "captions": [each.name for each in shown],
        "title": "Predictions",
        "caption": request.where(),
    }


def nearest_neighbours(request: Request) -> Figure:
    """Photographs and the training photographs with the nearest features."""
    network = request.network
    queries = request.photographs(_QUERIES, most=8)
    scores = scoring.features(network, request.layer)
    nearest = neighbours.Nearest(scores(np.stack([query.image for query in queries])), _NEIGHBOURS)
    names: list[str] = []
    if request.features_file:
        found = neighbours.in_file(network, Path(request.features_file), nearest)
        among = Path(request.features_file).name
    else:
        source = request.source()
        names = request.class_names(len(network.class_names or source.class_names))
        excluded = {query.name for query in queries if request.split == "train" and not request.images}
        found = neighbours.in_split(network, source, "train", scores, nearest, excluded)
        among = "training images"

    def picture(photograph: photographs.Photograph, distance: float = 0.0) -> plots.Picture:
        label = photograph.label
        if label is None or not names:
            return plots.Picture(photograph.image, photograph.name, distance)
        return plots.Picture(photograph.image, names[label], distance, label)

    return plots.neighbours_figure(
        [picture(query) for query in queries],
        [[picture(each, distance) for distance, each in row] for row in found],
        f"Nearest {among}",
        caption=f"Euclidean, {f'output of {request.layer}' if request.layer else 'input of the classifier'}",
    )


def activations(request: Request) -> Figure:
    """Feature maps for one photograph."""
    model, network = request.network.keras_model(), request.network
    (photograph,) = request.photographs(1, most=1)
    crop = center_crop(photograph.image[np.newaxis], model.input_shape[1])
    calls = trace.trace(model, crop, network.preprocessing)
    layers = trace.activations(calls, request.layer)
    names, label = request.class_names(model.output_shape[-1]), photograph.label
    name = photograph.name if label is None else f"an image of class {names[label]}"
    return plots.activations_figure(np.asarray(crop[0]), layers, f"Activations of {request.title(model)} for {name}")


def confusion(request: Request) -> Figure:
    """Confusion matrix of a split."""
    counts = None
    for _, probabilities, labels in _scored(request):
        classes = probabilities.shape[1]
        counts = np.zeros((classes, classes), np.int64) if counts is None else counts
        counts += plots.confusion_counts(labels, probabilities.argmax(1), classes)
    if counts is None:
        raise ValueError(f"split={request.split}: found no image that can be decoded")
    return plots.confusion_figure(counts, request.class_names(len(counts)), f"Confusion matrix, {request.where()}")


def mistakes(request: Request) -> Figure:
    """The most confident mistakes of a split."""
    worst: list[tuple[float, int, Any]] = []
    seen = wrong = 0
    for images, probabilities, labels in _scored(request):
        for image, scores, label in zip(images, probabilities, labels, strict=True):
            seen += 1
            if scores.argmax() == label:
                continue
            wrong += 1
            # The number decides between equal scores; images cannot be compared.
            entry = (float(scores.max()), -seen, (image.copy(), scores, int(label)))
            heapq.heappushpop(worst, entry) if len(worst) == _MISTAKES else heapq.heappush(worst, entry)
    shown = [item for *_, item in sorted(worst, reverse=True)]
    classes = shown[0][1].shape[0] if shown else 0
    return plots.mistakes_figure(
        [image for image, *_ in shown],
        np.array([scores for _, scores, _ in shown]).reshape(len(shown), classes),
        [label for *_, label in shown],
        request.class_names(classes),
        f"Most confident of {wrong} mistakes in {seen} images",
        caption=request.where(),
    )


def _scored(request: Request) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Resized images, probabilities and labels of a split, in batches; shows a progress bar."""
    if request.images:
        raise ValueError(f"images={request.images[0]}: classes of files are unknown; expected a split of a dataset")
    network, source = request.network, request.source()
    total = source.splits[source.split(request.split)]
    scores = scoring.probabilities(network, request.crops)
    batches = evaluation_batches(source, request.split, batch_size=64, resize=network.resize, size=network.resized_size)
    with progress_bar(f"{request.split} images", total) as bar:
        done = 0
        for images, labels, valid, _ in batches.as_numpy_iterator():
            if valid.any():
                yield images[valid], scores(images[valid]), labels[valid]
            done += len(valid)
            bar.update(done)


def architecture(request: Request) -> Figure:
    """The layers as boxes."""
    model = request.network.keras_model()
    title = f"{request.title(model)}: {parameters(model):,} trainable parameters"
    return plots.architecture_figure(trace.blocks(model, request.network.preprocessing), title)


def curves(request: Request) -> Figure:
    """Error and loss by epoch."""
    return plots.learning_curves_figure({Path(request.model).name: _rows(request)})


def _rows(request: Request) -> list[dict[str, float]]:
    """The rows of metrics.csv; no finished epoch, no row."""
    path = RunDirectory(request.model).metrics_file
    if not path.is_file():
        raise ValueError(
            f"model={request.model}: found no metrics.csv; expected a run directory of keras_alexnet.train"
        )
    rows = read_curve(path)
    if not rows:
        raise ValueError(f"model={request.model}: found no finished epoch in metrics.csv")
    return rows


def summary(request: Request) -> Figure:
    """Kernels, predictions and curves in one figure."""
    rows, model = _rows(request), request.network.keras_model()
    towers = trace.first_convolution(model, request.network.preprocessing)
    return plots.summary_figure(
        towers,
        _predictions(request, _SUMMARY),
        {"": rows},
        f"{request.title(model)}: {parameters(model):,} trainable parameters",
    )


DRAW: dict[str, Callable[[Request], Figure]] = {
    "kernels": kernels,
    "predictions": predictions,
    "neighbours": nearest_neighbours,
    "activations": activations,
    "confusion": confusion,
    "errors": mistakes,
    "architecture": architecture,
    "curves": curves,
    "summary": summary,
}
