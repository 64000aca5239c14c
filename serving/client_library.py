"""The library client: images in, named classes out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from pipelines.command import InputError
from serving import signatures as wire
from serving.connection import Connection
from serving.photographs import stored_view

IMAGES_PER_REQUEST = 16
BYTES_PER_REQUEST = 64_000_000

_CLASSIFIED = (wire.OUTPUT_SCORES, wire.OUTPUT_CLASSES, wire.OUTPUT_LABELS)


@dataclass(frozen=True)
class Result:
    """Answer for one image, best class first.

    Attributes:
        valid: whether the image could be decoded; if not, the rest is empty.
        labels: class names.
        classes: class indices, from 0.
        scores: probabilities, 0 to 1.
    """

    valid: bool
    labels: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


class Client:
    """Asks a server for the classes or the features of images; a context manager that closes its channel.

    Args:
        server: "host:port" of the gRPC port.
        model_name: name under which the server serves the model.
        timeout_s: seconds that each request may take, attempts and waiting included. A request carries at most
            IMAGES_PER_REQUEST images or BYTES_PER_REQUEST bytes, whichever is reached first.

    Every method raises ServingError when the server cannot be reached or refuses. Nothing is sent before the first
    call. Safe to share between threads.
    """

    def __init__(self, server: str, model_name: str = "alexnet", timeout_s: float = 60.0):
        self._connection = Connection(server, model_name, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; the client cannot be used any more."""
        self._connection.close()

    def classify(
        self, images: Sequence[bytes], signature: str = wire.SIGNATURE_TEN_CROP, top_k: int = wire.TOP_K
    ) -> list[Result]:
        """The best classes of each image.

        Args:
            images: JPEG or PNG files' contents, any number.
            signature: SIGNATURE_TEN_CROP, SIGNATURE_CENTER, or SIGNATURE_IMAGES, for which the images are decoded
                and cut to 256 x 256 here.
            top_k: how many classes, 1 to TOP_K; a model of fewer classes answers with those it has.

        Returns:
            One Result per image, in order.
        """
        if not 1 <= top_k <= wire.TOP_K:
            raise InputError(f"--top_k={top_k}: expected 1 to {wire.TOP_K}, which is what the server answers with")
        if signature == wire.SIGNATURE_FEATURES:
            raise InputError(f"--signature={signature} gives no classes; Client.features() asks for it")
        ask = self._classify_views if signature == wire.SIGNATURE_IMAGES else self._classify_files
        return [result for part in _parts(images) for result in ask(part, signature, top_k)]

    def features(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The fc7 activations of each image's centre view.

        Args:
            images: JPEG or PNG files' contents, any number.

        Returns:
            features float32 [N,4096] (fewer columns from a narrower network) and valid bool [N]; a row that is not
            valid holds zeros.
        """
        outputs = (wire.OUTPUT_FEATURES, wire.OUTPUT_VALID)
        answers = [
            self._connection.predict(wire.SIGNATURE_FEATURES, wire.INPUT_BYTES, np.array(part, object), outputs)
            for part in _parts(images)
        ]
        if not answers:
            return np.zeros((0, 4096), np.float32), np.zeros(0, bool)
        features, valid = (np.concatenate([answer[name] for answer in answers]) for name in outputs)
        return features, valid

    def signatures(self) -> list[str]:
        """Names of the signatures that the model offers, sorted."""
        return self._connection.signatures()

    def _classify_files(self, images: Sequence[bytes], signature: str, top_k: int) -> list[Result]:
        outputs = (*_CLASSIFIED, wire.OUTPUT_VALID)
        answer = self._connection.predict(signature, wire.INPUT_BYTES, np.array(images, object), outputs)
        return _results(answer, answer[wire.OUTPUT_VALID], top_k)

    def _classify_views(self, images: Sequence[bytes], signature: str, top_k: int) -> list[Result]:
        views = [_view_or_none(image) for image in images]
        decoded = [view for view in views if view is not None]
        if not decoded:
            return [Result(valid=False) for _ in views]
        answer = self._connection.predict(signature, wire.INPUT_IMAGES, np.stack(decoded), _CLASSIFIED)
        results = iter(_results(answer, np.ones(len(decoded), bool), top_k))
        return [Result(valid=False) if view is None else next(results) for view in views]


def _parts(images: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Cuts `images` into requests; an image above BYTES_PER_REQUEST travels alone."""
    part: list[bytes] = []
    for image in images:
        if part and (len(part) == IMAGES_PER_REQUEST or sum(map(len, part)) + len(image) > BYTES_PER_REQUEST):
            yield part
            part = []
        part.append(image)
    if part:
        yield part


def _results(answer: dict[str, np.ndarray], valid: np.ndarray, top_k: int) -> list[Result]:
    columns = (answer[wire.OUTPUT_LABELS], answer[wire.OUTPUT_CLASSES], answer[wire.OUTPUT_SCORES])
    results = []
    for is_valid, *rows in zip(valid, *columns, strict=True):
        labels, classes, scores = (row[:top_k].tolist() for row in rows)
        names = tuple(label.decode() for label in labels)
        results.append(Result(True, names, tuple(classes), tuple(scores)) if is_valid else Result(False))
    return results


def _view_or_none(encoded: bytes) -> np.ndarray | None:
    try:
        return stored_view(encoded)
    except Exception:  # Pillow's readers raise many kinds for a broken file; it is this image's answer, not an error
        return None
