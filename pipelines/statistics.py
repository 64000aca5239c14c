"""Statistics of a training set: mean image, RGB mean, RGB covariance and its eigenvectors.

The mean image is what the paper subtracts from every crop (section 2); the eigenvectors and eigenvalues of the
RGB covariance define its PCA colour augmentation (section 4.1). Sums are exact integers, so the result is
bit-identical for any order of the images and any division among accumulators.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from os import PathLike

import numpy as np

from pipelines.atomic import atomic_path
from pipelines.cli.regular_files import open_file

_FIELDS = ("count", "mean_image", "rgb_mean", "rgb_covariance")
# Components of a unit vector below this are rounding errors; their sign is arbitrary.
_NO_COMPONENT = 1e-6
# Of a file, before and after it is inflated: twice a mean image of 4096 pixels.
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class Statistics:
    """Statistics of a set of R x R RGB images with values 0..255.

    Attributes:
      count: images counted.
      mean_image: float64 [R,R,3], 0..255.
      rgb_mean: float64 [3], 0..255.
      rgb_covariance: float64 [3,3] in pixel values squared, over all pixels of all images (divided by their number).
    """

    count: int
    mean_image: np.ndarray
    rgb_mean: np.ndarray
    rgb_covariance: np.ndarray

    @property
    def eigenvalues(self) -> np.ndarray:
        """float64 [3]: variances along the principal axes, in pixel values squared, descending, never negative."""
        return np.maximum(np.linalg.eigvalsh(self.rgb_covariance)[::-1], 0.0)

    @property
    def eigenvectors(self) -> np.ndarray:
        """float64 [3,3]: unit principal axes in the columns, in the order of `eigenvalues`.

        The sign of an axis is arbitrary; here its red component is positive, or the next one where there is no red.
        """
        vectors = np.linalg.eigh(self.rgb_covariance)[1][:, ::-1]
        leading = vectors[np.argmax(np.abs(vectors) > _NO_COMPONENT, axis=0), np.arange(3)]
        return vectors * np.sign(leading)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes an uncompressed .npz to `path` in one step: the attributes, and for other readers the properties."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in (*_FIELDS, "eigenvalues", "eigenvectors")})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Statistics:
        """Reads what `save` wrote.

        Raises:
          ValueError: `path` is missing, broken, or something else.
        """
        try:
            with open_file(path, _MOST_BYTES) as file:
                archive = np.load(file, allow_pickle=False)
                if sum(entry.file_size for entry in archive.zip.infolist()) > _MOST_BYTES:
                    raise ValueError("more than any statistics")
                fields = {name: archive[name] for name in _FIELDS}
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file, expected image statistics") from None
        except (AttributeError, OSError, ValueError, IndexError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
            raise ValueError(f"{path}: broken or foreign, expected image statistics (.npz)") from None
        side = len(fields["mean_image"]) if fields["mean_image"].ndim == 3 else 1
        shapes: tuple[tuple[int, ...], ...] = ((), (max(side, 1), max(side, 1), 3), (3,), (3, 3))
        for name, shape in zip(_FIELDS, shapes, strict=True):
            if fields[name].shape != shape or not np.all(np.isfinite(fields[name])):
                found = f"{name} {list(fields[name].shape)}"
                raise ValueError(f"{path}: found {found}, expected finite numbers {list(shape)}")
        return cls(**{**fields, "count": int(fields["count"])})


@dataclass
class Accumulator:
    """Sums over images in one pass. All sums are integers and exact: up to 2e9 images fit into them.

    Attributes:
      count: images counted.
      image_sum: int64 [R,R,3], their sum; the first image sets R.
      product_sum: int64 [3,3], the sum of the outer products of all their pixels with themselves.
    """

    count: int = 0
    image_sum: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.int64))
    product_sum: np.ndarray = field(default_factory=lambda: np.zeros((3, 3), np.int64))

    def update(self, images: np.ndarray) -> None:
        """Counts one image, uint8 [R,R,3], or several, uint8 [N,R,R,3].

        Raises:
          ValueError: another shape or type.
        """
        images = images[np.newaxis] if images.ndim == 3 else images
        side = len(self.image_sum) if self.count else images.shape[-2]
        if images.shape[1:] != (side, side, 3) or images.dtype != np.uint8:
            raise ValueError(f"found {images.dtype} {list(images.shape)}, expected uint8 [N,{side},{side},3]")
        if not self.count:
            self.image_sum = np.zeros((side, side, 3), np.int64)
        for image in images:
            # Products of one image sum to less than 2^53, so this float64 product is exact, and much faster
            # than an integer one.
            pixels = image.reshape(-1, 3).astype(np.float64)
            self.product_sum += (pixels.T @ pixels).astype(np.int64)
            self.image_sum += image
        self.count += len(images)

    def merge(self, other: Accumulator) -> None:
        """Adds what `other` has counted, of images of the same size."""
        if other.count:
            self.image_sum = self.image_sum + other.image_sum if self.count else other.image_sum
        self.count += other.count
        self.product_sum += other.product_sum

    def result(self) -> Statistics:
        """The statistics of all images counted so far.

        Raises:
          ValueError: none were.
        """
        if not self.count:
            raise ValueError("no image was counted")
        pixels = self.count * len(self.image_sum) ** 2
        # Python's unbounded integers: the difference of two large products is exact, even where it is tiny.
        rgb_sum = self.image_sum.sum(axis=(0, 1)).astype(object)
        scatter = pixels * self.product_sum.astype(object) - np.outer(rgb_sum, rgb_sum)
        return Statistics(
            count=self.count,
            mean_image=self.image_sum / self.count,
            rgb_mean=(rgb_sum / pixels).astype(np.float64),
            rgb_covariance=(scatter / pixels**2).astype(np.float64),
        )
