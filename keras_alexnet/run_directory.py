"""The files of a training run: what is needed to build its network again, to resume it and to compare it.

<model_dir>/
  model.json        network and its options, class names, resize policy, ...: `RunConfig`
  mean.npy          what the network subtracts from images; not of networks that ignore the training set's mean
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_alexnet import networks
from keras_alexnet.layers import MeanSubtraction
from pipelines.atomic import FileLockedError, atomic_path, file_lock, write_file
from pipelines.cli import reason_of
from pipelines.cli.regular_files import MAX_TEXT_BYTES, check_directory, open_file, read_text
from pipelines.statistics import Statistics

# Of TrainingConfig.
_DEFAULTS = {"width": 1.0, "init": "paper"}


@dataclass(frozen=True)
class RunConfig:
    """The saved configuration of a run: what is needed to build its network again and to resume its training.

    Attributes:
      class_names: one per output of the network.
      network_options: those of the network besides width and init, which count only if the network has them.
      resize: resize policy of the images it is trained on, one of `pipelines.images.crops.RESIZE_POLICIES`.
      resized_size: side of the resized images in pixels; None in runs of older versions, of which it is the network's.
      bad_images: keys of the training images that cannot be decoded; training leaves them out.
      label_names: display names of the classes, in the same order; empty if the dataset has none.
      learning_rate: the initial one; None in runs of older versions.
      class_weight_values: the weights of the classes that `class_weights` names, in the order of the dataset's classes;
        empty if that is "none".

    The others are those of `TrainingConfig`. Those that a resumed run may change are of the last process; they
    are None in runs of older versions.
    """

    network: str
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
    weight_decay: float | None = None
    aux_loss_weight: float | None = None
    label_smoothing: float = 0.0
    class_weights: str = "none"
    class_weight_values: tuple[float, ...] = ()
    augmentation: str = "crop"
    color_augmentation: str | None = None
    cutout: int = 0
    random_erasing: float = 0.0
    network_options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    resized_size: int | None = None
    epochs: int | None = None
    schedule: str | None = None
    step_epochs: tuple[str, ...] | None = None
    patience: int | None = None
    early_stopping_epochs: int = 0
    lr_multipliers: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options that the network is built with, apart from its mean."""
        own = {"width": self.width, "init": self.init}
        if ":" in self.network:
            # A user's function has defaults of its own.
            own = {name: value for name, value in own.items() if value != _DEFAULTS[name]}
        accepted = networks.find(self.network).options
        return {name: value for name, value in own.items() if name in accepted} | dict(self.network_options)

    @property
    def crop_size(self) -> int:
        """Side of the network's images in pixels."""
        return self.image_size or networks.find(self.network).image_size

    @property
    def size_before_crops(self) -> int:
        """Side of the resized images, from which crops are taken, in pixels."""
        return self.resized_size or networks.find(self.network).resized_size(self.crop_size)

    def labels(self) -> tuple[str, ...]:
        """The labels in predictions: "n02124075 Egyptian cat" where there are display names, else class names.

        Both, because display names need not differ: two of ImageNet's classes are called crane.
        """
        named = zip(self.class_names, self.label_names or self.class_names, strict=True)
        return tuple(name if label == name else f"{name} {label}" for name, label in named)

    def build(self, mean: np.ndarray | None, precision: str = "float32") -> keras.Model:
        """Builds the untrained network, which gives logits, with its auxiliary outputs.

        Args:
          mean: what the network subtracts, as `AlexNet` takes it; None for a network without this option.
          precision: of most of its computation: float32, bfloat16 or float16. Weights are float32 always.
        """
        options = self.options | ({} if mean is None else {"mean": mean})
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
        try:
            model = networks.create_for_training(self.network, len(self.class_names), self.image_size, None, **options)
        finally:
            keras.config.set_dtype_policy(before)
        for layer in model.layers:
            if isinstance(layer, MeanSubtraction):
                # The images that it is trained on may have been prepared in another way than the published ones.
                layer.resize, layer.resized_size = self.resize, self.resized_size
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
        """Whether a training run was started here."""
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
            fields = json.loads(read_text(self._config))
            check_directory(self.checkpoints_dir)
            if "variant" in fields:  # versions up to 0.1 knew AlexNet's variants only
                fields["network"] = fields.pop("variant")
            names = ("class_names", "bad_images", "label_names", "class_weight_values", "step_epochs")
            lists = {name: tuple(fields[name]) for name in names if fields.get(name) is not None}
            return RunConfig(**fields | lists)
        except FileNotFoundError:
            found = "a directory without model.json" if self.path.is_dir() else "no such directory"
            raise ValueError(
                f"model_dir={self.path}: found {found}, expected one written by `python -m keras_alexnet.train`"
            ) from None
        except OSError as error:
            raise ValueError(f"{error.filename}: {reason_of(error)}, expected a file of keras_alexnet.train") from error
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self._config}: found {error!r}, expected a file of keras_alexnet.train") from error

    @property
    def statistics(self) -> Statistics:
        """Statistics of the training images; ValueError if they cannot be read."""
        return Statistics.load(self._statistics)

    @property
    def mean(self) -> np.ndarray | None:
        """What the network subtracts, as `AlexNet(mean=...)` takes it; None for networks without this option.

        Raises:
          ValueError: if it cannot be read.
        """
        if networks.find(self.config.network).mean is None:
            return None
        try:
            with open_file(self._mean, MAX_TEXT_BYTES) as file:
                return np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{self._mean}: {reason_of(error)}; expected the mean that training writes") from error

    def save(self, config: RunConfig, statistics: Statistics, mean: np.ndarray | None) -> None:
        """Writes statistics.npz, mean.npy if there is a mean, and then model.json, each in one step."""
        with atomic_path(self._statistics) as temporary:
            statistics.save(temporary)
        if mean is not None:
            with atomic_path(self._mean) as temporary:
                np.save(temporary, np.asarray(mean, np.float32))
        self.save_config(config)

    def save_config(self, config: RunConfig) -> None:
        """Writes model.json in one step."""
        write_file(self._config, json.dumps(dataclasses.asdict(config), indent=2) + "\n")

    def build_model(self, precision: str = "float32") -> keras.Model:
        """The untrained network of the run; see `RunConfig.build`."""
        return self.config.build(self.mean, precision)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the directory, and keeps other training runs out of it while the block runs.

        Raises:
          ValueError: if the directory cannot be created or written, or another training run uses it.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(self.path / ".lock"))
            except FileLockedError:
                raise ValueError(f"model_dir={self.path}: another training run is using this directory") from None
            except OSError as error:
                raise ValueError(
                    f"model_dir={self.path}: {reason_of(error)}; expected a directory that can be written"
                ) from error
            yield
