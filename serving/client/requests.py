"""What a request carries and how its answer reads; how it travels is the connections' business."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving import signatures as wire
from serving.photographs import VIEW, read_photograph, resize_image

IMAGES_PER_REQUEST = 16
BYTES_PER_REQUEST = 64_000_000

_CLASSIFIED = (wire.OUTPUT_SCORES, wire.OUTPUT_CLASSES, wire.OUTPUT_LABELS)

# An encoded JPEG or PNG file, or the path of one.
Photograph = bytes | str | Path


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


@dataclass(frozen=True)
class Question:
    """One request.

    Attributes:
        signature: the signature to ask.
        input_name: its one input.
        batch: what to send there: bytes objects [N], or uint8 [N,256,256,3].
        outputs: the outputs to ask for.
        decoded: bool [N], which images could be decoded on this side; None if that is left to the server.
    """

    signature: str
    input_name: str
    batch: np.ndarray
    outputs: tuple[str, ...]
    decoded: np.ndarray | None = None

    def valid(self, answer: dict[str, np.ndarray]) -> np.ndarray:
        """Which images were decoded, bool [N]; `answer` holds the outputs."""
        return answer[wire.OUTPUT_VALID] if self.decoded is None else self.decoded


def question_about(images: Sequence[bytes], signature: str) -> Question:
    """The request that asks `signature` about JPEG or PNG files' contents.

    For SIGNATURE_IMAGES they are decoded here; one that cannot be decoded travels as a black image.
    """
    if signature == wire.SIGNATURE_IMAGES:
        views = [_view_or_none(image) for image in images]
        decoded = np.array([view is not None for view in views])
        batch = np.stack([np.zeros((VIEW, VIEW, 3), np.uint8) if view is None else view for view in views])
        return Question(signature, wire.INPUT_IMAGES, batch, _CLASSIFIED, decoded)
    outputs = (wire.OUTPUT_FEATURES,) if signature == wire.SIGNATURE_FEATURES else _CLASSIFIED
    return Question(signature, wire.INPUT_BYTES, np.array(images, object), (*outputs, wire.OUTPUT_VALID))


def questions_about(images: Sequence[Photograph], signature: str) -> Iterator[Question]:
    """Cuts `images` into requests; an image above BYTES_PER_REQUEST travels alone. Files are read as they are sent.

    Raises:
        ValueError: `images` is one image and no list, or a path names no JPEG or PNG file.
    """
    if isinstance(images, Photograph):
        raise ValueError("expected a list of images, found a single one; write [image]")
    return (question_about(part, signature) for part in _parts(images))


def check_classifying(signature: str, top_k: int) -> None:
    """Refuses to ask for classes where there are none.

    Raises:
        ValueError: `signature` gives no classes, or `top_k` asks for none.
    """
    if top_k < 1:
        raise ValueError(f"top_k={top_k}: expected 1 or more")
    if signature == wire.SIGNATURE_FEATURES:
        raise ValueError(f"signature={signature} gives no classes; Client.features() asks for it")


def read_results(question: Question, answer: dict[str, np.ndarray], top_k: int) -> list[Result]:
    """The best `top_k` classes of each image of `question`, from its outputs."""
    columns = (answer[wire.OUTPUT_LABELS], answer[wire.OUTPUT_CLASSES], answer[wire.OUTPUT_SCORES])
    results = []
    for is_valid, *rows in zip(question.valid(answer), *columns, strict=True):
        labels, classes, scores = (row[:top_k].tolist() for row in rows)
        names = tuple(label.decode(errors="replace") for label in labels)
        results.append(Result(True, names, tuple(classes), tuple(scores)) if is_valid else Result(False))
    return results


def read_features(answers: Sequence[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [N,4096] and valid bool [N] of all the images of some answers; without any, 0 rows."""
    if not answers:
        return np.zeros((0, 4096), np.float32), np.zeros(0, bool)
    features, valid = (
        np.concatenate([answer[name] for answer in answers]) for name in (wire.OUTPUT_FEATURES, wire.OUTPUT_VALID)
    )
    return features, valid


def _parts(images: Sequence[Photograph]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for image in images:
        content = read_photograph(str(image)) if isinstance(image, str | Path) else image
        if part and (len(part) == IMAGES_PER_REQUEST or sum(map(len, part)) + len(content) > BYTES_PER_REQUEST):
            yield part
            part = []
        part.append(content)
    if part:
        yield part


def _view_or_none(encoded: bytes) -> np.ndarray | None:
    try:
        return resize_image(encoded)
    except Exception:  # Pillow's readers raise many kinds for a broken file; it is this image's answer, not an error
        return None
