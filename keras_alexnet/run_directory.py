"""What a training run says of itself, for everybody who builds its network again.

<model_dir>/
  model.json        variant, width, class names, resize policy, ...: `RunConfig`
  mean.npy          what the network subtracts from images
  statistics.npz    mean image and colour covariance of the training set
  checkpoints/      tf.train.Checkpoint files, the newest few
  best/             the one with the lowest validation error, and best.json, which says which
  metrics.csv       one row an epoch
  logs/             for TensorBoard
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_alexnet.model import AlexNet
from keras_alexnet.variants import find_variant
from keras_alexnet.variants.architecture import Variant
from pipelines.cli import reason_of
from pipelines.statistics import Statistics

_DESCRIPTION, _STATISTICS, _MEAN = "model.json", "statistics.npz", "mean.npy"


@dataclass(frozen=True)
class RunConfig:
    """All that is needed to build a trained network again, and to feed it as in training.

    `bad_images` are the keys of training images that cannot be decoded; training leaves them out.
    `label_names` are what people call the classes, in the same order; there are none if nobody has said.
    `init_from`, `freeze`, `crop_chunk`, `take` and `mixed_precision` are those of `TrainingConfig`.
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

    def save(self, model_dir: str | os.PathLike, statistics: Statistics, mean: np.ndarray) -> None:
        """Writes statistics.npz, mean.npy and then model.json, each complete or not at all."""
        part = Path(model_dir) / f"part-{_STATISTICS}"
        statistics.save(part)
        os.replace(part, Path(model_dir) / _STATISTICS)
        part = Path(model_dir) / f"part-{_MEAN}"
        np.save(part, np.asarray(mean, np.float32))
        os.replace(part, Path(model_dir) / _MEAN)
        replace_file(Path(model_dir) / _DESCRIPTION, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, model_dir: str | os.PathLike) -> "RunConfig":
        """Reads model.json.

        Raises:
          ValueError: if there is none, or it is none of ours.
        """
        path = Path(model_dir) / _DESCRIPTION
        try:
            fields = json.loads(path.read_text())
            lists = {k: tuple(fields[k]) for k in ("class_names", "bad_images", "label_names") if k in fields}
            return cls(**fields | lists)
        except FileNotFoundError:
            found = "a folder without model.json" if Path(model_dir).is_dir() else "no such folder"
            raise ValueError(
                f"model_dir={model_dir}: found {found}; expected what `python -m keras_alexnet.train` writes"
            ) from None
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ValueError(
                f"{path}: found {error!r}; expected a description written by keras_alexnet.train"
            ) from error

    @staticmethod
    def exists(model_dir: str | os.PathLike) -> bool:
        """Whether a training has been started in `model_dir`."""
        return (Path(model_dir) / _DESCRIPTION).exists()

    @staticmethod
    def statistics(model_dir: str | os.PathLike) -> Statistics:
        """The statistics that `save` wrote.

        Raises:
          ValueError: if there are none that can be read.
        """
        return Statistics.load(Path(model_dir) / _STATISTICS)

    @staticmethod
    def mean(model_dir: str | os.PathLike) -> np.ndarray:
        """What the network subtracts, as `AlexNet(mean=...)` takes it.

        Raises:
          ValueError: if it cannot be read.
        """
        path = Path(model_dir) / _MEAN
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: {reason_of(error)}; expected the mean that training has written") from error

    def labels(self) -> tuple[str, ...]:
        """What answers call the classes: "n02124075 Egyptian cat" where there are names for people, else class names.

        Both, because names for people need not differ: two of ImageNet's classes are called crane.
        """
        named = zip(self.class_names, self.label_names or self.class_names, strict=True)
        return tuple(name if label == name else f"{name} {label}" for name, label in named)

    def architecture(self) -> Variant:
        """The variant, with the resize policy of the images that it is trained on."""
        return dataclasses.replace(find_variant(self.variant), resize=self.resize)

    def build(self, mean: np.ndarray, precision: str = "float32") -> keras.Model:
        """The untrained network, giving logits in float32.

        Args:
          mean: as `AlexNet` takes it.
          precision: in which most of it computes: float32, bfloat16 or float16. Its weights are float32 always.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
        try:
            return AlexNet(
                self.architecture(),
                classes=len(self.class_names),
                classifier_activation=None,
                mean=mean,
                width=self.width,
                init=self.init,
            )
        finally:
            keras.config.set_dtype_policy(before)


def replace_file(path: Path, text: str) -> None:
    """Writes `text` to `path` such that readers, and whoever comes after a crash, see the old file or the new one."""
    part = path.with_name(f"part-{path.name}")
    part.write_text(text)
    os.replace(part, path)
