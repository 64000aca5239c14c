"""The configuration of a training run: one declaration per setting, from which everything else is generated.

The fields of `TrainingConfig` declare default, help, group, bounds and what a resumed run does with them. The flags of
`keras_alexnet.train`, their documentation and the check of a resumed run are generated from these declarations
(`keras_alexnet.training.flags`, `keras_alexnet.training.create_run`).
"""

import dataclasses
import enum
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_alexnet.distribute import STRATEGIES
from keras_alexnet.networks import find, parse_options
from keras_alexnet.variants import VARIANTS
from pipelines.choices import AUGMENTATIONS, COLOR_AUGMENTATIONS

COMMON, DEVICES, DETAILS_2012, DEBUGGING = "common", "devices and clusters", "2012 details", "debugging"
GROUPS = (COMMON, DEVICES, DETAILS_2012, DEBUGGING)

INITIALIZATIONS = ("paper", "he")
PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("plateau", "step", "cosine", "constant", "hand2012")
CLASS_ORDERS = ("sorted", "devkit")  # those of pipelines.datasets.class_order, which needs TensorFlow

_LARGEST_INT = 2**31 - 1


class Resume(enum.Enum):
    """What a resumed run does with a value that differs from the one it was started with."""

    CHANGE = "may change"
    KEEP = "keeps its own"
    REFUSE = "must be the same"


@dataclass(frozen=True)
class Setting:
    """What a field of `TrainingConfig` declares beside its type and its default.

    Attributes:
      help: one sentence, for `--help` and the documentation.
      group: one of `GROUPS`.
      lower, upper: bounds of a number, both allowed.
      choices: the allowed values of a string; any if empty.
      renamed: old value -> new value, accepted for one release.
      resume: what a resumed run does with it.
      aliases: other names of the flag.
      is_path: whether `~` stands for the home directory on the command line.
    """

    help: str
    group: str
    lower: float = 0
    upper: float = _LARGEST_INT
    choices: Sequence[str] = ()
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    resume: Resume = Resume.CHANGE
    aliases: Sequence[str] = ()
    is_path: bool = False


def _field(default: Any, group: str, help: str, **setting: Any) -> Any:
    return dataclasses.field(default=default, metadata=vars(Setting(help, group, **setting)))


@dataclass(frozen=True)
class TrainingConfig:
    """The configuration of a training run. The paper's values are the defaults.

    Raises:
      ValueError: for a value of the wrong type or out of range: `seed=-5: expected ...`.

    Example:
      config = TrainingConfig(dataset="folder:photos", model_dir="runs/photos", init="he", width=0.25)
    """

    dataset: str | None = _field(
        None,
        COMMON,
        "photos, folder:DIR, ilsvrc:DIR, a directory written by pipelines.prepare, or a TFDS name such as imagenet2012",
        resume=Resume.REFUSE,
    )
    model_dir: str | None = _field(
        None, COMMON, "the run directory: checkpoints and logs; a run found there is resumed", is_path=True
    )
    data_dir: str | None = _field(
        None, COMMON, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set", is_path=True
    )
    network: str = _field(
        "paper",
        COMMON,
        f"{', '.join(VARIANTS)}, another network that `python -m keras_alexnet.describe` knows, such as "
        "keras.applications.ResNet50, or package.module:function",
        resume=Resume.REFUSE,
        aliases=("variant",),
    )
    network_options: str | None = _field(
        None,
        COMMON,
        "options of the network other than width and init, such as depth=20,dropout=0.5",
        resume=Resume.REFUSE,
    )
    image_size: int | None = _field(
        None,
        COMMON,
        "side of the network's images in pixels; the network's own if not set",
        lower=1,
        upper=4096,
        resume=Resume.REFUSE,
    )
    classes: int | None = _field(
        None,
        COMMON,
        "outputs of the network; as many as the dataset has classes if not set",
        lower=1,
        upper=100_000,
        resume=Resume.REFUSE,
    )
    width: float = _field(
        1.0,
        COMMON,
        "multiplies the numbers of filters and units, of networks that have this option; 1 is the published network",
        lower=0.001,
        upper=16,
        resume=Resume.REFUSE,
    )
    init: str = _field(
        "paper",
        COMMON,
        "initialization, of networks that have this option; he also scales the input of an AlexNet by 1/64",
        choices=INITIALIZATIONS,
        resume=Resume.REFUSE,
    )
    epochs: int = _field(90, COMMON, "passes over the training images", lower=1)
    steps: int | None = _field(None, COMMON, "stop after this many steps in total, if that is earlier", lower=1)
    batch_size: int = _field(128, COMMON, "images per step, over all replicas", lower=1, resume=Resume.REFUSE)
    learning_rate: float = _field(0.01, COMMON, "initial learning rate", upper=1e38, resume=Resume.KEEP)
    schedule: str = _field(
        "plateau",
        COMMON,
        "learning rate schedule. plateau: divide by 10 when the validation error stops improving, three times (the "
        "paper); step: four equal stages down to 1/250; cosine: half a cosine down to 0, per step; hand2012: the "
        "authors' manual changes over 91 epochs",
        choices=SCHEDULES,
        renamed={"staged": "step"},
    )
    warmup_epochs: float = _field(
        0.0,
        COMMON,
        "epochs in which the learning rate rises linearly, step by step, from near 0 to the initial one, with any "
        "schedule",
        upper=1000,
        resume=Resume.REFUSE,
    )
    label_smoothing: float = _field(
        0.0,
        COMMON,
        "share of the training target that is spread evenly over all classes; 0.1 in most recipes that use it. "
        "Validation is not affected",
        upper=0.99,
        resume=Resume.REFUSE,
    )
    class_weights: str = _field(
        "none",
        COMMON,
        "factors of the training losses of the classes. auto: inversely proportional to their numbers of training "
        "images, with a mean of 1 over the images; or a CSV or TSV file of lines class,weight. Validation is not "
        "affected",
        resume=Resume.REFUSE,
        is_path=True,
    )
    step_epochs: list[str] | None = _field(
        None, COMMON, "schedule step: epochs at which it divides by 10, such as 150,225, in place of the four stages"
    )
    early_stopping_epochs: int = _field(
        0, COMMON, "stop when the validation top-1 error has not fallen for so many epochs; 0 does not stop early"
    )
    patience: int = _field(5, COMMON, "epochs without improvement before schedule plateau divides", lower=1)
    validation_fraction: float = _field(
        0.0,
        COMMON,
        "share of the training images to hold out where the dataset has no validation split; 0 holds out none",
        upper=0.9,
        resume=Resume.REFUSE,
    )
    augmentation: str = _field(
        "crop",
        COMMON,
        "what is cut out of the resized image, before the horizontal flip. crop: a random crop (the paper); "
        "random_resized: a window of 35 to 100 % of its area and of aspect ratio 3/4 to 4/3, resized; pad4: a random "
        "crop of the image padded by 4 pixels of the mean colour on each side; none: the centre, without flips",
        choices=AUGMENTATIONS,
        resume=Resume.REFUSE,
    )
    color_augmentation: str | None = _field(
        None,
        COMMON,
        "PCA colour augmentation; the network's own if not set. paper: as printed; source2012: as in the 2012 code",
        choices=COLOR_AUGMENTATIONS,
        resume=Resume.REFUSE,
    )
    cutout: int = _field(
        0,
        COMMON,
        "erase a square of so many pixels a side from each crop: the network reads zeros there; 16 for CIFAR-10's 32 "
        "pixels in the paper of cutout",
        resume=Resume.REFUSE,
    )
    random_erasing: float = _field(
        0.0,
        COMMON,
        "erase, with this probability, a rectangle of 2 to 40 % of each crop; 0.5 in the paper of random erasing",
        upper=1,
        resume=Resume.REFUSE,
    )
    strategy: str = _field(
        "auto",
        DEVICES,
        "single: one device; mirrored: one replica per GPU; towers: one replica per pair of GPUs; multiworker: the "
        "processes named by TF_CONFIG; auto: multiworker if TF_CONFIG names several, mirrored if there are several "
        "GPUs, else single",
        choices=STRATEGIES,
    )
    virtual_devices: int = _field(
        0, DEVICES, "split the only GPU, or the CPU, into this many logical devices", upper=64
    )
    devices: list[str] | None = _field(
        None, DEVICES, "devices to use, such as GPU:0,GPU:2; all GPUs, or all virtual devices, if not set"
    )
    seed: int = _field(
        0,
        COMMON,
        "of initialization, order of images, crops, PCA colour augmentation and dropout",
        upper=2**32 - 1,
        resume=Resume.REFUSE,
    )
    checkpoint_steps: int = _field(1000, COMMON, "steps between checkpoints within an epoch", lower=1)
    keep: int = _field(3, COMMON, "number of newest checkpoints to keep, in addition to the best", lower=1)
    max_bad_fraction: float = _field(0.001, COMMON, "share of the images that may be undecodable", upper=1)
    init_from: str | None = _field(
        None,
        COMMON,
        "initial weights of all layers but fc8: another run directory, or a weight file",
        resume=Resume.REFUSE,
        is_path=True,
    )
    freeze: str | None = _field(None, COMMON, "layers that are not trained, such as conv1,conv2", resume=Resume.REFUSE)
    lr_multipliers: str | None = _field(
        None, COMMON, "multipliers of the learning rates of layers, such as fc8=10,conv1=0.1"
    )
    crop_chunk: int = _field(
        1,
        DETAILS_2012,
        "consecutive images that share one crop position and horizontal flip; 32 in 2012",
        lower=1,
        resume=Resume.REFUSE,
    )
    class_order: str = _field(
        "sorted",
        DETAILS_2012,
        "order of the outputs. devkit: that of ImageNet's development kit, as in 2012",
        choices=CLASS_ORDERS,
        resume=Resume.REFUSE,
    )
    take: int | None = _field(None, DEBUGGING, "train on this many images only", lower=1, resume=Resume.REFUSE)
    mixed_precision: str = _field(
        "float32",
        DEVICES,
        "precision of the layers' computation. Weights, local response normalization and loss are float32; float16 "
        "uses dynamic loss scaling",
        choices=PRECISIONS,
        resume=Resume.REFUSE,
    )
    steps_per_execution: int = _field(
        1, DEVICES, "steps per call into TensorFlow; signals, checkpoints and progress wait for its end", lower=1
    )
    deterministic: bool = _field(False, DEBUGGING, "deterministic operations on a GPU too; slower")
    synthetic: bool = _field(
        False,
        DEBUGGING,
        "train on a fixed batch of noise, to measure images per second: without dataset, with 1000 classes unless set; "
        "schedule plateau becomes constant; without model_dir nothing is kept",
    )
    data_service: str | None = _field(
        None, DEVICES, "hosts running pipelines.service that prepare the batches: grpc://host:port,..."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, os.PathLike):
                value = os.fspath(value)
            object.__setattr__(self, field.name, _checked(field, value))
        if ":" not in self.network:  # a user's module is imported later
            find(self.network)
        parse_options(self.network_options)
        if self.step_epochs and not all(epoch.isdecimal() for epoch in self.step_epochs):
            raise ValueError(f"step_epochs={','.join(self.step_epochs)}: expected numbers of epochs, such as 150,225")


def setting_of(field: dataclasses.Field) -> Setting:
    """What a field of `TrainingConfig` declares."""
    return Setting(**field.metadata)


def type_of(field: dataclasses.Field) -> type:
    """The type of a field of `TrainingConfig`, without `| None`: str, int, float, bool or list."""
    hint = typing.get_type_hints(TrainingConfig)[field.name]
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return typing.get_origin(hint) or hint


def _checked(field: dataclasses.Field, value: Any) -> Any:
    """`value`, or its new name; ValueError if it is of another type than the field or out of its range."""
    if value is None and field.default is None:
        return None
    kind, setting = type_of(field), setting_of(field)
    if kind is str and isinstance(value, str):
        value = setting.renamed.get(value, value)
    if kind in (int, float):
        accepted = isinstance(value, int | kind) and not isinstance(value, bool) and math.isfinite(value)
        accepted = accepted and setting.lower <= value <= setting.upper
        expected = f"{'an integer' if kind is int else 'a number'} from {setting.lower} to {setting.upper}"
    elif setting.choices:
        accepted, expected = value in setting.choices, f"one of {', '.join(setting.choices)}"
    else:
        accepted, expected = isinstance(value, kind), f"a {kind.__name__}"
    if not accepted:
        raise ValueError(f"{field.name}={value}: expected {expected}")
    return value
