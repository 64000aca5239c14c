"""A training recipe: `TrainingConfig`, and the flags that say the same on the command line."""

import dataclasses
from dataclasses import dataclass

from absl import flags

from keras_alexnet.distribute import STRATEGIES
from keras_alexnet.variants import VARIANTS
from pipelines.choices import CLASS_ORDERS, DATASET_FORMS

PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("plateau", "staged", "constant", "hand2012")


@dataclass(frozen=True)
class TrainingConfig:
    """A recipe: one field a flag, with the paper's values as defaults. The flags' help says what they mean."""

    dataset: str | None = None
    model_dir: str | None = None
    data_dir: str | None = None
    variant: str = "paper"
    classes: int | None = None
    width: float = 1.0
    init: str = "paper"
    epochs: int = 90
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 0.01
    schedule: str = "plateau"
    patience: int = 5
    strategy: str = "auto"
    virtual_devices: int = 0
    devices: list[str] | None = None
    seed: int = 0
    checkpoint_steps: int = 1000
    keep: int = 3
    max_bad_fraction: float = 0.001
    init_from: str | None = None
    freeze: str | None = None
    lr_multipliers: str | None = None
    crop_chunk: int = 1
    class_order: str = "sorted"
    take: int | None = None
    mixed_precision: str = "float32"
    steps_per_execution: int = 1
    deterministic: bool = False
    synthetic: bool = False
    data_service: str | None = None


def define_flags() -> None:
    """One flag a field of TrainingConfig."""
    default = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
    flags.DEFINE_string("dataset", None, f"what to train on: {DATASET_FORMS}")
    flags.DEFINE_string("model_dir", None, "gets checkpoints and logs; a run found there is resumed")
    flags.DEFINE_string("data_dir", default["data_dir"], "where TFDS keeps datasets (~/tensorflow_datasets if not set)")
    flags.DEFINE_enum("variant", default["variant"], list(VARIANTS), "which network")
    flags.DEFINE_integer(
        "classes", None, "outputs of the network; as many as the dataset has if not set", lower_bound=1
    )
    flags.DEFINE_enum(
        "class_order", default["class_order"], CLASS_ORDERS, "of the outputs; devkit: ImageNet's own, as in 2012"
    )
    flags.DEFINE_string(
        "data_service", None, "pipelines.service on other machines, which make the batches: grpc://host:port,..."
    )
    flags.DEFINE_integer("take", None, "train on so many images only, for a trial", lower_bound=1)
    flags.DEFINE_float("width", default["width"], "multiplies filters and units; 1 is the network as published")
    flags.DEFINE_enum("init", default["init"], ["paper", "he"], "initial values; he also scales the input by 1/64")
    flags.DEFINE_integer("epochs", default["epochs"], "passes over the training images", lower_bound=1)
    flags.DEFINE_integer("steps", None, "stop after so many steps in all, if that is sooner", lower_bound=1)
    flags.DEFINE_integer("batch_size", default["batch_size"], "images a step, over all replicas", lower_bound=1)
    flags.DEFINE_float("learning_rate", default["learning_rate"], "at the start; a resumed run keeps its own", 0.0)
    flags.DEFINE_enum(
        "schedule",
        default["schedule"],
        SCHEDULES,
        "plateau: a tenth when validation error stops improving, three times; staged: four equal stages down to 1/250; "
        "hand2012: what the authors did by hand in 91 epochs",
    )
    flags.DEFINE_integer("patience", default["patience"], "epochs without improvement that make a plateau", 1)
    flags.DEFINE_enum(
        "strategy",
        default["strategy"],
        STRATEGIES,
        "mirrored: a replica a GPU; towers: one a pair; multiworker: processes named by TF_CONFIG; auto: multiworker "
        "where TF_CONFIG names several, mirrored where there are several GPUs, else single",
    )
    flags.DEFINE_integer("virtual_devices", default["virtual_devices"], "split the CPU into so many devices", 0)
    flags.DEFINE_list("devices", None, "which to use, such as GPU:0,GPU:2; all GPUs, or virtual devices, if not set")
    flags.DEFINE_integer("seed", default["seed"], "of initial values, order, crops, colour shifts and dropout")
    flags.DEFINE_integer("checkpoint_steps", default["checkpoint_steps"], "steps between checkpoints in an epoch", 1)
    flags.DEFINE_integer(
        "keep", default["keep"], "how many of the newest checkpoints to keep, beside the best", lower_bound=1
    )
    flags.DEFINE_float(
        "max_bad_fraction", default["max_bad_fraction"], "share of images that may be undecodable", 0.0, 1.0
    )
    flags.DEFINE_string(
        "init_from", None, "weights to start from, all but fc8: a --model_dir of another training, or a file of weights"
    )
    flags.DEFINE_string("freeze", None, "layers that keep their weights, such as conv1,conv2")
    flags.DEFINE_string("lr_multipliers", None, "multiplies learning rates of layers, such as fc8=10,conv1=0.1")
    flags.DEFINE_integer(
        "crop_chunk", default["crop_chunk"], "images in a row that share one window and reflection; 32 in 2012", 1
    )
    flags.DEFINE_enum(
        "mixed_precision",
        default["mixed_precision"],
        PRECISIONS,
        "in which the layers compute; weights, response normalisation and loss are float32 always; float16 scales the "
        "loss",
    )
    flags.DEFINE_integer(
        "steps_per_execution",
        default["steps_per_execution"],
        "steps in one call of TensorFlow; signals, checkpoints and progress wait for its end",
        lower_bound=1,
    )
    flags.DEFINE_bool("deterministic", default["deterministic"], "same results each time on a GPU too, and slower")
    flags.DEFINE_bool(
        "synthetic",
        default["synthetic"],
        "train on a fixed batch of noise, to measure images/s: no --dataset, 1000 classes unless set, constant instead "
        "of --schedule=plateau; without --model_dir nothing is kept",
    )


def flag_values() -> TrainingConfig:
    """The recipe that the command line asks for."""
    return TrainingConfig(**{field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainingConfig)})
