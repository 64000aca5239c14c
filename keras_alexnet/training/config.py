"""The configuration of a training run: one declaration per setting, from which everything else is generated.

The fields of `TrainingConfig` declare default, help, group, bounds and what a resumed run does with them. The flags of
`keras_alexnet.train`, their documentation and the check of a resumed run are generated from these declarations
(`keras_alexnet.training.flags`, `keras_alexnet.training.create_run`).
"""

import dataclasses
import os
from dataclasses import dataclass

from keras_alexnet.distribute import STRATEGIES
from keras_alexnet.networks import NAME_FORMS, find, parse_options
from keras_alexnet.training.setting import COMMON, DEBUGGING, DETAILS_2012, DEVICES, Resume, checked, declare
from pipelines.choices import AUGMENTATIONS, CLASS_ORDERS, COLOR_AUGMENTATIONS, DATASET_FORMS

INITIALIZATIONS = ("paper", "he")
PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("plateau", "step", "cosine", "constant", "hand2012")


@dataclass(frozen=True)
class TrainingConfig:
    """The configuration of a training run. The paper's values are the defaults.

    Each field is also a flag of `python -m keras_alexnet.train`; the table of its flags describes them.

    Raises:
      ValueError: for a value of the wrong type or out of range: `seed=-5: expected ...`.

    Example:

    ```python
    config = TrainingConfig(dataset="folder:photos", model_dir="runs/photos", init="he", width=0.25)
    ```
    """

    dataset: str | None = declare(
        None,
        COMMON,
        DATASET_FORMS,
        resume=Resume.REFUSE,
    )
    model_dir: str | None = declare(
        None, COMMON, "the run directory: checkpoints and logs; a run found there is resumed", is_path=True
    )
    data_dir: str | None = declare(
        None, COMMON, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set", is_path=True
    )
    network: str = declare(
        "paper",
        COMMON,
        NAME_FORMS,
        resume=Resume.REFUSE,
        aliases=("variant",),
    )
    network_options: str | None = declare(
        None,
        COMMON,
        "options of the network other than width and init, such as depth=20,dropout=0.5",
        resume=Resume.REFUSE,
    )
    image_size: int | None = declare(
        None,
        COMMON,
        "side of the network's images in pixels; the network's own if not set",
        lower=1,
        upper=4096,
        resume=Resume.REFUSE,
    )
    classes: int | None = declare(
        None,
        COMMON,
        "outputs of the network; as many as the dataset has classes if not set",
        lower=1,
        upper=100_000,
        resume=Resume.REFUSE,
    )
    width: float = declare(
        1.0,
        COMMON,
        "multiplies the numbers of filters and units, of networks that have this option; 1 is the published network",
        lower=0.001,
        upper=16,
        resume=Resume.REFUSE,
    )
    init: str = declare(
        "paper",
        COMMON,
        "initialization, of networks that have this option; he also scales the input of an AlexNet by 1/64",
        choices=INITIALIZATIONS,
        resume=Resume.REFUSE,
    )
    epochs: int = declare(90, COMMON, "passes over the training images", lower=1)
    steps: int | None = declare(None, COMMON, "stop after this many steps in total, if that is earlier", lower=1)
    batch_size: int = declare(128, COMMON, "images per step, over all replicas", lower=1, resume=Resume.REFUSE)
    learning_rate: float = declare(0.01, COMMON, "initial learning rate", upper=1e38, resume=Resume.KEEP)
    schedule: str = declare(
        "plateau",
        COMMON,
        "learning rate schedule. plateau: divide by 10 when the validation error stops improving, three times (the "
        "paper); step: four equal stages down to 1/250; cosine: half a cosine down to 0, per step; hand2012: the "
        "authors' manual changes over 91 epochs",
        choices=SCHEDULES,
        renamed={"staged": "step"},
    )
    warmup_epochs: float = declare(
        0.0,
        COMMON,
        "epochs in which the learning rate rises linearly, step by step, from near 0 to the initial one, with any "
        "schedule",
        upper=1000,
        resume=Resume.REFUSE,
    )
    weight_decay: float | None = declare(
        None,
        COMMON,
        "weight decay of the optimizer; the network's own if not set. Regularizers of layers are not affected",
        upper=1,
        resume=Resume.REFUSE,
    )
    aux_loss_weight: float | None = declare(
        None,
        COMMON,
        "factor of the loss of each auxiliary output, of networks that have some; the network's own if not set. 0 "
        "trains the main output only",
        upper=1000,
        resume=Resume.REFUSE,
    )
    label_smoothing: float = declare(
        0.0,
        COMMON,
        "share of the training target that is spread evenly over all classes; 0.1 in most recipes that use it. "
        "Validation is not affected",
        upper=0.99,
        resume=Resume.REFUSE,
    )
    class_weights: str = declare(
        "none",
        COMMON,
        "factors of the training losses of the classes. auto: inversely proportional to their numbers of training "
        "images, with a mean of 1 over the images; or a CSV or TSV file of lines class,weight. Validation is not "
        "affected",
        resume=Resume.REFUSE,
        is_path=True,
    )
    step_epochs: list[str] | None = declare(
        None, COMMON, "schedule step: epochs at which it divides by 10, such as 150,225, in place of the four stages"
    )
    early_stopping_epochs: int = declare(
        0, COMMON, "stop when the validation top-1 error has not fallen for this many epochs; 0 never stops early"
    )
    patience: int = declare(5, COMMON, "epochs without improvement before schedule plateau divides", lower=1)
    validation_fraction: float = declare(
        0.0,
        COMMON,
        "share of the training images to hold out where the dataset has no validation split; 0 holds out none",
        upper=0.9,
        resume=Resume.REFUSE,
    )
    augmentation: str = declare(
        "crop",
        COMMON,
        "what is cut out of the resized image, before the horizontal flip. crop: a random crop (the paper); "
        "random_resized: a window of 35 to 100 % of its area and of aspect ratio 3/4 to 4/3, resized; pad4: a random "
        "crop of the image padded by 4 pixels of the mean colour on each side; none: the centre, without flips",
        choices=AUGMENTATIONS,
        resume=Resume.REFUSE,
    )
    color_augmentation: str | None = declare(
        None,
        COMMON,
        "PCA colour augmentation; the network's own if not set. paper: as printed; source2012: as in the 2012 code",
        choices=COLOR_AUGMENTATIONS,
        resume=Resume.REFUSE,
    )
    cutout: int = declare(
        0,
        COMMON,
        "side in pixels of a square that is erased from each crop (the network reads zeros there); 0: none; the cutout "
        "paper uses 16 for CIFAR-10",
        resume=Resume.REFUSE,
    )
    random_erasing: float = declare(
        0.0,
        COMMON,
        "fill, with this probability, a rectangle of 2 to 40 % of each crop with random pixel values; 0.5 in the "
        "paper of random erasing",
        upper=1,
        resume=Resume.REFUSE,
    )
    seed: int = declare(
        0,
        COMMON,
        "random seed of initialization, image order, crops, PCA colour augmentation and dropout",
        upper=2**32 - 1,
        resume=Resume.REFUSE,
    )
    checkpoint_steps: int = declare(1000, COMMON, "steps between checkpoints within an epoch", lower=1)
    keep: int = declare(3, COMMON, "number of newest checkpoints to keep, in addition to the best", lower=1)
    max_bad_fraction: float = declare(0.001, COMMON, "share of the images that may be undecodable", upper=1)
    init_from: str | None = declare(
        None,
        COMMON,
        "initial weights of all layers but fc8: another run directory, or a weight file",
        resume=Resume.REFUSE,
        is_path=True,
    )
    freeze: str | None = declare(None, COMMON, "layers that are not trained, such as conv1,conv2", resume=Resume.REFUSE)
    lr_multipliers: str | None = declare(
        None, COMMON, "multipliers of the learning rates of layers, such as fc8=10,conv1=0.1"
    )

    strategy: str = declare(
        "auto",
        DEVICES,
        "single: one device; mirrored: one replica per GPU; towers: one replica per pair of GPUs; multiworker: the "
        "processes named by TF_CONFIG; auto: multiworker if TF_CONFIG names several, mirrored if there are several "
        "GPUs, else single",
        choices=STRATEGIES,
    )
    virtual_devices: int = declare(
        0, DEVICES, "split the only GPU, or the CPU, into this many logical devices", upper=64
    )
    devices: list[str] | None = declare(
        None, DEVICES, "devices to use, such as GPU:0,GPU:2; all GPUs, or all virtual devices, if not set"
    )
    mixed_precision: str = declare(
        "float32",
        DEVICES,
        "precision of the layers' computation. Weights, local response normalization and loss are float32; float16 "
        "uses dynamic loss scaling",
        choices=PRECISIONS,
        resume=Resume.REFUSE,
    )
    steps_per_execution: int = declare(
        1, DEVICES, "steps per call into TensorFlow; signals, checkpoints and progress wait for its end", lower=1
    )
    data_service: str | None = declare(
        None, DEVICES, "hosts running pipelines.service that prepare the batches: grpc://host:port,..."
    )

    crop_chunk: int = declare(
        1,
        DETAILS_2012,
        "consecutive images that share one crop position and horizontal flip; 32 in 2012",
        lower=1,
        resume=Resume.REFUSE,
    )
    class_order: str = declare(
        "sorted",
        DETAILS_2012,
        "order of the outputs. devkit: that of ImageNet's development kit, as in 2012",
        choices=CLASS_ORDERS,
        resume=Resume.REFUSE,
    )

    take: int | None = declare(None, DEBUGGING, "train on this many images only", lower=1, resume=Resume.REFUSE)
    deterministic: bool = declare(False, DEBUGGING, "deterministic operations on a GPU too; slower")
    synthetic: bool = declare(
        False,
        DEBUGGING,
        "train on a fixed batch of noise, to measure images per second: without dataset, with 1000 classes unless set; "
        "schedule plateau becomes constant; without model_dir nothing is kept",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, os.PathLike):
                value = os.fspath(value)
            object.__setattr__(self, field.name, checked(field, value))
        if ":" not in self.network:  # a user's module is imported later
            find(self.network)
        parse_options(self.network_options)
        if self.step_epochs and not all(epoch.isdecimal() for epoch in self.step_epochs):
            raise ValueError(f"step_epochs={','.join(self.step_epochs)}: expected numbers of epochs, such as 150,225")
