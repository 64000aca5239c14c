"""`export_average`: several networks as one SavedModel that averages their class probabilities."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_alexnet.pretrained import LoadedNetwork, check_average, shared_training
from keras_alexnet.saved_model.export import write_version
from keras_alexnet.saved_model.files import model_card
from keras_alexnet.saved_model.module import ServableNetwork
from keras_alexnet.saved_model.served_signatures import serving_network
from keras_alexnet.saved_model.versions import check_names, new_version
from keras_alexnet.saved_model.warmup import probes
from pipelines.choices import MAX_PIXELS
from serving import signatures as wire


class AveragedNetwork:
    """The mean of the probabilities of networks, and all their features; a `module.ServableNetwork`.

    Args:
      networks: at least one, with the same classes and the same resized images.

    Attributes:
      variables: the weights of all.
      resize, resized_size: of the networks.
    """

    def __init__(self, networks: Sequence[ServableNetwork]):
        self._networks = networks
        self.variables = [variable for network in networks for variable in network.variables]
        self.resize, self.resized_size = networks[0].resize, networks[0].resized_size

    def ten_crop(self, images: tf.Tensor) -> tf.Tensor:
        """Class probabilities of uint8 `[N, R, R, 3]`, the mean over networks and ten crops: float32 `[N, classes]`."""
        return self._mean([network.ten_crop(images) for network in self._networks])

    def center_crop_and_features(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Mean class probabilities from the centre crop; the features of all networks side by side, float32."""
        parts = [network.center_crop_and_features(images) for network in self._networks]
        return self._mean([probabilities for probabilities, _ in parts]), tf.concat([units for _, units in parts], -1)

    def _mean(self, probabilities: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.add_n(probabilities) / len(self._networks)


def export_average(
    networks: Sequence[LoadedNetwork],
    export_base: str | os.PathLike[str],
    version: int | None = None,
    *,
    precision: str = "float32",
    top_k: int = wire.TOP_K,
    max_pixels: int = MAX_PIXELS,
    error_rates: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Writes several networks as one SavedModel with the signatures of `export_model`.

    Its probabilities are the means of those of the networks (the paper's "5 CNNs" in Tables 1 and 2), and its features
    are the concatenated features of all networks. It needs as much time and memory as all networks together. As for
    `export_model`, a fresh process compares its predictions with those of the Keras models before it is published.

    Args:
      networks: as returned by `load_network`, with class names; exports are not accepted. All must have the same
        classes in the same order, and the same resized images.
      export_base: directory of the versions; created if necessary.
      version: 1 or more; by default one more than the highest that exists.
      precision: "float32", or "bfloat16" if all are AlexNets.
      top_k: how many classes a prediction names, at least 1; all of them if there are fewer.
      max_pixels: larger images count as not decodable.
      error_rates: of the average, for the model card, as `pretrained.error_rates.read_error_rates` returns them.

    Returns:
      The path of the new version.

    Raises:
      ValueError: the networks cannot be averaged, or as for `export_model`. Nothing is left behind then.

    Example:

    ```python
    export_average([load_network("runs/0"), load_network("runs/1")], "export/average")
    ```

    References:
      - Krizhevsky, Sutskever, Hinton 2012, section 6.
    """
    check_average(networks)
    for network in networks:
        if network.model is None:
            raise ValueError(f"model={network.source}: is an export already; expected a run directory or a file")
        check_names(network.model, "class_names", network.class_names)
    target, first = new_version(export_base, version), networks[0]
    parts = [serving_network(network, precision) for network in networks]
    write_version(
        target,
        AveragedNetwork(parts),
        first.class_names,
        first.display_names or first.class_names,
        lambda served: average_card(networks, served, error_rates),
        lambda: averaged_probes([probes(network, target.parent.name, max_pixels) for network in networks]),
        precision=precision,
        top_k=top_k,
        max_pixels=max_pixels,
    )
    return str(target)


def averaged_probes(of_networks: Sequence[Sequence[PredictionLog]]) -> list[PredictionLog]:
    """The probes of several networks as one: mean probabilities, and features side by side."""
    return [_averaged(logs) for logs in zip(*of_networks, strict=True)]


def _averaged(logs: Sequence[PredictionLog]) -> PredictionLog:
    combined = PredictionLog()
    combined.CopyFrom(logs[0])
    for name, tensor in combined.predict_log.response.outputs.items():
        parts = [tf.make_ndarray(log.predict_log.response.outputs[name]) for log in logs]
        if name == wire.OUTPUT_PROBABILITIES:
            tensor.CopyFrom(tf.make_tensor_proto(np.mean(parts, 0)))
        elif name == wire.OUTPUT_FEATURES:
            tensor.CopyFrom(tf.make_tensor_proto(np.concatenate(parts, -1)))
    return combined


def average_card(
    networks: Sequence[LoadedNetwork], served: Mapping[str, Any], error_rates: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The model card: what the networks share as in that of a single one, and the card of each under "networks"."""
    cards = []
    for network in networks:
        assert network.model is not None
        own = model_card(network.model, served, network.training)
        facts = ("model", "parameters", "input_size", "training")
        cards.append({"source": network.source} | {name: own[name] for name in facts})
    return own | {
        "model": f"average_of_{len(networks)}_networks",
        "parameters": sum(card["parameters"] for card in cards),
        "input_size": max(card["input_size"] for card in cards),
        "training": shared_training(networks) | ({"error_rates": [*error_rates]} if error_rates else {}),
        "networks": cards,
    }
