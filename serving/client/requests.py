"""Cuts images into requests and reads the outputs of their responses, whatever the transport."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving import signatures as wire
from serving.client.image_inputs import ImageInput, Images, as_list, encoded, is_array, pixels

IMAGES_PER_REQUEST = 16
BYTES_PER_REQUEST = 64_000_000

_BYTE_SIGNATURES = f"{wire.SIGNATURE_TEN_CROP!r} or {wire.SIGNATURE_CENTER!r}"
_CLASS_OUTPUTS = (wire.OUTPUT_SCORES, wire.OUTPUT_CLASSES, wire.OUTPUT_LABELS)
# Kind of NumPy dtype, dtype and rank of each output.
_OUTPUTS: dict[str, tuple[str, Any, int]] = {
    wire.OUTPUT_SCORES: ("f", np.float32, 2),
    wire.OUTPUT_CLASSES: ("i", np.int32, 2),
    wire.OUTPUT_LABELS: ("O", object, 2),
    wire.OUTPUT_VALID: ("b", np.bool_, 1),
    wire.OUTPUT_FEATURES: ("f", np.float32, 2),
}


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image, best class first.

    Attributes:
        valid: whether the image could be decoded; if not, the rest is empty.
        labels: class names.
        classes: class indices, from 0.
        scores: probabilities, 0 to 1.
        version: of the model that predicted; None if the server does not say, as over REST.
    """

    valid: bool
    labels: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    version: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        outputs: checked, [N,...] each; strings are bytes objects.
        version: of the model; None if unknown.
    """

    outputs: dict[str, np.ndarray]
    version: int | None = None


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        signature: name of the signature.
        input_name: its only input.
        batch: the value of that input: bytes objects [N], or uint8 [N,R,R,3].
        outputs: names of the outputs to return.
    """

    signature: str
    input_name: str
    batch: np.ndarray
    outputs: tuple[str, ...]


def check_classifying(signature: str | None, top_k: int) -> None:
    """Raises ValueError if `signature` has no classes or `top_k` is less than 1."""
    if top_k < 1:
        raise ValueError(f"top_k={top_k}: expected 1 or more")
    if signature == wire.SIGNATURE_FEATURES:
        raise ValueError(f"signature={signature} has no classes: use Client.features()")


def build_requests(images: Images, signature: str | None) -> Iterator[Request]:
    """Cuts `images` into requests of at most IMAGES_PER_REQUEST images and BYTES_PER_REQUEST bytes.

    An image above BYTES_PER_REQUEST travels alone. Files are read when their turn comes.

    Args:
        images: a list of images, or one uint8 array [R,R,3] or [N,R,R,3].
        signature: name of the signature; None chooses SIGNATURE_IMAGES for arrays and SIGNATURE_TEN_CROP otherwise.

    Raises:
        ValueError: not a list of images, or images that do not go with the signature.
    """
    listed = as_list(images)
    if signature is None:
        all_pixels = bool(listed) and all(is_array(image) for image in listed)
        signature = wire.SIGNATURE_IMAGES if all_pixels else wire.SIGNATURE_TEN_CROP
    if signature == wire.SIGNATURE_IMAGES:
        return _array_requests(listed)
    outputs = (wire.OUTPUT_FEATURES,) if signature == wire.SIGNATURE_FEATURES else _CLASS_OUTPUTS
    outputs = (*outputs, wire.OUTPUT_VALID)
    return (Request(signature, wire.INPUT_BYTES, _object_array(part), outputs) for part in _parts(listed))


def check_outputs(request: Request, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs of `request` with their dtypes, after comparing them with the signature.

    Raises:
        ValueError: an output is missing, has another dtype or shape, or classes that are none.
    """
    rows = len(request.batch)
    checked: dict[str, np.ndarray] = {}
    for name in request.outputs:
        if name not in outputs:
            raise ValueError(f"output {name!r} is missing")
        kind, dtype, rank = _OUTPUTS[name]
        array = outputs[name]
        if array.dtype.kind != kind:
            raise ValueError(f"output {name!r} has dtype {array.dtype}, expected {np.dtype(dtype).name}")
        if array.ndim != rank or len(array) != rows or not array.size:
            raise ValueError(f"output {name!r} has shape {array.shape} for {rows} images")
        if kind == "i" and np.any((array < 0) | (array > np.iinfo(dtype).max)):
            raise ValueError(f"output {name!r} has values that are not class indices")
        with np.errstate(over="ignore"):
            checked[name] = array.astype(dtype, copy=False)
    if len({array.shape for name, array in checked.items() if name in _CLASS_OUTPUTS}) > 1:
        raise ValueError(f"outputs {', '.join(_CLASS_OUTPUTS)} have different shapes")
    return checked


def read_predictions(response: Response, top_k: int) -> list[Prediction]:
    """The best `top_k` classes of each image."""
    outputs, version = response.outputs, response.version
    columns = [outputs[name][:, :top_k] for name in (wire.OUTPUT_LABELS, wire.OUTPUT_CLASSES, wire.OUTPUT_SCORES)]
    valid = outputs.get(wire.OUTPUT_VALID, np.ones(len(columns[0]), bool))
    return [
        Prediction(
            True, tuple(_text(label) for label in labels), tuple(classes.tolist()), tuple(scores.tolist()), version
        )
        if is_valid
        else Prediction(False, version=version)
        for is_valid, labels, classes, scores in zip(valid, *columns, strict=True)
    ]


def read_features(responses: Sequence[Response]) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [N,F] and valid bool [N] of all images; [0,4096] without responses."""
    if not responses:
        return np.zeros((0, 4096), np.float32), np.zeros(0, bool)
    features, valid = (
        np.concatenate([response.outputs[name] for response in responses])
        for name in (wire.OUTPUT_FEATURES, wire.OUTPUT_VALID)
    )
    return features, valid


def _array_requests(images: list[ImageInput]) -> Iterator[Request]:
    for image in images:
        if not is_array(image):
            raise ValueError(
                f"signature={wire.SIGNATURE_IMAGES}: takes uint8 arrays [R,R,3], found {type(image).__name__}; "
                f"files and bytes go to {_BYTE_SIGNATURES}"
            )
    arrays = [pixels(image) for image in images]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"signature={wire.SIGNATURE_IMAGES}: takes arrays of one shape, found several")
    size = max(1, min(IMAGES_PER_REQUEST, BYTES_PER_REQUEST // max(1, arrays[0].nbytes))) if arrays else 1
    return (
        Request(wire.SIGNATURE_IMAGES, wire.INPUT_IMAGES, np.stack(arrays[start : start + size]), _CLASS_OUTPUTS)
        for start in range(0, len(arrays), size)
    )


def _parts(images: list[ImageInput]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for image in images:
        content = encoded(image)
        if part and (len(part) == IMAGES_PER_REQUEST or sum(map(len, part)) + len(content) > BYTES_PER_REQUEST):
            yield part
            part = []
        part.append(content)
    if part:
        yield part


def _object_array(items: list[bytes]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _text(label: Any) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)
