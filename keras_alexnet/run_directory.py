"""The files of a training run: what is needed to build its network again, to resume it and to compare it.

<model_dir>/
  model.json        variant, width, class names, resize policy, ...: `RunConfig`
  mean.npy          what the network subtracts from images
  statistics.npz    mean image and RGB covariance of the training set
  checkpoints/      the newest checkpoints (tf.train.Checkpoint)
  best/             the checkpoint with the lowest validation error, and best.json, which names it
  metrics.csv       one row per epoch
  logs/             for TensorBoard
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_alexnet.model import AlexNet
from keras_alexnet.variants import find_variant
from keras_alexnet.variants.architecture import Variant
from pipelines.atomic import FileLockedError, atomic_path, file_lock, write_file
from pipelines.choices import RESIZED_SIZE
from pipelines.cli import reason_of
from pipelines.statistics import Statistics


@dataclass(frozen=True)
class RunConfig:
    """The saved configuration of a run: what is needed to build its network again and to resume its training.

    Attributes:
      class_names: one per output of the network.
      resize: resize policy of the images it is trained on, one of `pipelines.images.crops.RESIZE_POLICIES`.
      resized_size: side of the resized images in pixels; None in runs of older versions, of which it is the network's.
      bad_images: keys of the training images that cannot be decoded; training leaves them out.
      label_names: display names of the classes, in the same order; empty if the dataset has none.
      learning_rate: the initial one; None in runs of older versions.

    The others are those of `TrainingConfig`.
    """

    variant: str
    width: float
    init: str
    class_names: tuple[str, ...]
    dataset: str
    data_dir: str | None
    resize: str
    batch_size: int
    seed: int
    bad_images: tuple[str, ...] = ()
    init_from: str | None = None
    freeze: str | None = None
    crop_chunk: int = 1
    take: int | None = None
    mixed_precision: str = "float32"
    label_names: tuple[str, ...] = ()
    validation_fraction: float = 0.0
    learning_rate: float | None = None
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    augmentation: str = "crop"
    cutout: int = 0
    random_erasing: float = 0.0

    resized_size: int | None = None

    @property
    def size_before_crops(self) -> int:
        """Side of the resized images, from which crops are taken, in pixels."""
        return self.resized_size or RESIZED_SIZE

    def labels(self) -> tuple[str, ...]:
        """The labels in predictions: "n02124075 Egyptian cat" where there are display names, else class names.

        Both, because display names need not differ: two of ImageNet's classes are called crane.
        """
        named = zip(self.class_names, self.label_names or self.class_names, strict=True)
        return tuple(name if label == name else f"{name} {label}" for name, label in named)

    def architecture(self) -> Variant:
        """The variant, with the resize policy of the images that it is trained on."""
        # The policy was checked when the dataset was opened.
        return dataclasses.replace(find_variant(self.variant), resize=self.resize)  # type: ignore[arg-type]

    def build(self, mean: np.ndarray, precision: str = "float32") -> keras.Model:
        """Builds the untrained network, which gives logits in float32.

        Args:
          mean: as `AlexNet` takes it.
          precision: of most of its computation: float32, bfloat16 or float16. Weights are float32 always.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
        try:
            model = AlexNet(
                self.architecture(),
                classes=len(self.class_names),
                classifier_activation=None,
                mean=mean,
                width=self.width,
                init=self.init,
            )
        finally:
            keras.config.set_dtype_policy(before)
        model.get_layer("mean_subtraction").resized_size = self.resized_size
        return model


class RunDirectory:
    """Reads and writes the files of a training run. Creating an object touches no file.

    Args:
      path: the directory, `model_dir` of the train command.

    Attributes:
      path: the same.
      checkpoints_dir, best_dir, logs_dir, metrics_file: see above.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.checkpoints_dir, self.best_dir = self.path / "checkpoints", self.path / "best"
        self.logs_dir, self.metrics_file = self.path / "logs", self.path / "metrics.csv"
        self._config, self._mean, self._statistics = (
            self.path / name for name in ("model.json", "mean.npy", "statistics.npz")
        )

    def exists(self) -> bool:
        """Whether a training was started here."""
        return self._config.exists()

    def has_checkpoint(self) -> bool:
        """Whether that training has written a checkpoint."""
        return any(self.checkpoints_dir.glob("ckpt-*.index"))

    @property
    def config(self) -> RunConfig:
        """The saved configuration.

        Raises:
          ValueError: if there is none, or it cannot be read.
        """
        try:
            fields = json.loads(self._config.read_text(encoding="utf-8"))
            lists = {k: tuple(fields[k]) for k in ("class_names", "bad_images", "label_names") if k in fields}
            return RunConfig(**fields | lists)
        except FileNotFoundError:
            found = "a directory without model.json" if self.path.is_dir() else "no such directory"
            raise ValueError(
                f"model_dir={self.path}: found {found}, expected one written by `python -m keras_alexnet.train`"
            ) from None
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ValueError(f"{self._config}: found {error!r}, expected a file of keras_alexnet.train") from error

    @property
    def statistics(self) -> Statistics:
        """Statistics of the training images; ValueError if they cannot be read."""
        return Statistics.load(self._statistics)

    @property
    def mean(self) -> np.ndarray:
        """What the network subtracts, as `AlexNet(mean=...)` takes it; ValueError if it cannot be read."""
        try:
            return np.load(self._mean, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{self._mean}: {reason_of(error)}; expected the mean that training writes") from error

    def save(self, config: RunConfig, statistics: Statistics, mean: np.ndarray) -> None:
        """Writes statistics.npz, mean.npy and then model.json, each in one step."""
        with atomic_path(self._statistics) as temporary:
            statistics.save(temporary)
        with atomic_path(self._mean) as temporary:
            np.save(temporary, np.asarray(mean, np.float32))
        write_file(self._config, json.dumps(dataclasses.asdict(config), indent=2) + "\n")

    def build_model(self, precision: str = "float32") -> keras.Model:
        """The untrained network of the run; see `RunConfig.build`."""
        return self.config.build(self.mean, precision)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the directory, and keeps other trainings out of it while the block runs.

        Raises:
          ValueError: if the directory cannot be created or written, or another training uses it.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(self.path / ".lock"))
            except FileLockedError:
                raise ValueError(f"model_dir={self.path}: another training uses this directory") from None
            except OSError as error:
                raise ValueError(
                    f"model_dir={self.path}: {reason_of(error)}; expected a directory that can be written"
                ) from error
            yield
