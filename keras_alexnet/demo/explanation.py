"""What happens inside the network for one photograph: crops, activations, kernels, nearest photographs."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_alexnet import plots
from keras_alexnet.pretrained import load_network
from keras_alexnet.ten_crop import preprocess, to_probabilities
from keras_alexnet.visualize import neighbours, photographs, scoring, trace
from pipelines.images.crops import center_crop, five_corners, ten_crops
from pipelines.images.decode import decode_rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NEIGHBOURS = 6
_THUMBNAIL = 96  # pixels
_POSITIONS = ("top left", "top right", "centre", "bottom left", "bottom right")


class Explanation:
    """Looks into the network that a server serves. Safe to share between threads.

    Args:
      model: path of a run directory, a .keras file or a weight file.
      features_file: what `keras_alexnet.predict --features` wrote; None for no neighbours.

    Raises:
      ValueError: `model` is not a network, or is an export, whose layers are not accessible; or `features_file` does
        not contain features of this network.

    Attributes:
      layers: names of the layers whose activations can be drawn.
    """

    def __init__(self, model: str, features_file: str | None = None):
        self._network = load_network(model)
        self._model = self._network.keras_model()
        self._features_file = Path(features_file) if features_file else None
        self._decode = photographs.decoder(self._network)
        self._features = scoring.features(self._network, None)
        # Neither matplotlib nor the tracing of layers is thread-safe.
        self._lock = threading.Lock()
        size = self._model.input_shape[1]
        blank = np.zeros((1, size, size, 3), np.uint8)
        self.layers = tuple(trace.activations(trace.trace(self._model, blank, self._network.preprocessing)))
        # An unsuitable file of features ends here, before a photograph waits for it.
        self._neighbours(np.zeros((self._network.resized_size, self._network.resized_size, 3), np.uint8))

    @property
    def has_neighbours(self) -> bool:
        """Whether there is a features file."""
        return self._features_file is not None

    def crops(self, encoded: bytes) -> dict[str, Any]:
        """The ten crops of an image file, and its nearest neighbours.

        Args:
          encoded: the file.

        Returns:
          "width" and "height" of the upright image; "crops": for each its position in it, in pixels, its best class and
          that class's probability; "neighbours": file name, distance and picture (a data: URL) of each.

        Raises:
          ValueError: the file cannot be decoded.
        """
        with self._lock:
            resized = self._resized(encoded)
            height, width = decode_rgb(encoded).shape[:2]
            size = self._model.input_shape[1]
            flat = ten_crops(resized[tf.newaxis], size)[0]
            outputs = self._model(preprocess(flat, self._network.preprocessing), training=False)
            probabilities = to_probabilities(outputs, self._network.from_logits).numpy()
            # From resized pixels to pixels of the image: of the sides together, or of each.
            if self._network.resize == "warp":
                scale_y, scale_x = height / len(resized), width / len(resized)
            else:
                scale_y = scale_x = min(height, width) / len(resized)
            offset_y, offset_x = (height - scale_y * len(resized)) / 2, (width - scale_x * len(resized)) / 2
            names = self._network.display_names or self._network.class_names
            crops = []
            for index, row in enumerate(probabilities):
                y, x = five_corners(size, len(resized))[index % 5]
                best = int(row.argmax())
                crops.append(
                    {
                        "position": _POSITIONS[index % 5],
                        "flipped": index >= len(_POSITIONS),
                        "x": offset_x + scale_x * x,
                        "y": offset_y + scale_y * y,
                        "width": scale_x * size,
                        "height": scale_y * size,
                        "label": names[best] if names else f"class {best}",
                        "score": float(row[best]),
                    }
                )
            found = self._neighbours(resized.numpy())
        return {"width": width, "height": height, "crops": crops, "neighbours": found}

    def activations(self, encoded: bytes, layer: str) -> str:
        """A picture of the activations of a layer for the centre crop, as a data: URL.

        Raises:
          ValueError: the file cannot be decoded, or there is no such layer.
        """
        with self._lock:
            crop = center_crop(self._resized(encoded)[tf.newaxis], self._model.input_shape[1])
            calls = trace.trace(self._model, crop, self._network.preprocessing)
            values = trace.activations(calls, layer)
            return _data_url(plots.activations_figure(crop[0].numpy(), values, f"Activations of {layer}"))

    def kernels(self) -> str:
        """A picture of the kernels of the first convolution, as a data: URL."""
        with self._lock:
            towers = trace.first_convolution(self._model, self._network.preprocessing)
            return _data_url(plots.kernels_figure(towers, f"Kernels of the first convolution: {self._model.name}"))

    def _resized(self, encoded: bytes) -> tf.Tensor:
        image, valid = self._decode(encoded)
        if not valid:
            raise ValueError("This file is not an image that can be decoded.")
        return image

    def _neighbours(self, resized: np.ndarray) -> list[dict[str, Any]]:
        if self._features_file is None:
            return []
        nearest = neighbours.Nearest(self._features(resized[np.newaxis]), _NEIGHBOURS)
        (found,) = neighbours.in_file(self._network, self._features_file, nearest)
        return [
            {"name": photograph.name, "distance": distance, "picture": _thumbnail(photograph.image)}
            for distance, photograph in found
        ]


def _thumbnail(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).resize((_THUMBNAIL, _THUMBNAIL)).save(buffer, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _data_url(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
