"""The experiments. Each names its claim, and what the claim's source reports."""

from keras_alexnet.experiments.experiment import Experiment, Run

IMAGENETTE, CIFAR10 = "imagenette/full-size-v2", "cifar10"

_SMALL_CROPS = "Crops of 128 pixels from photographs of 144, which makes the errors larger than at full size."

# Half of the filters and units on smaller crops, so that the runs of several seeds fit a day on two cores.
_HALF_WIDTH_SIZE = 144
_HALF_WIDTH = (
    "--width=0.5",
    "--image_size=128",
    "--init=he",
    "--batch_size=64",
    "--learning_rate=0.01",
    "--schedule=cosine",
    "--warmup_epochs=2",
    "--epochs=12",
)
# The learning rate of cuda-convnet's layer-params files; crops of 24 pixels and flips as in the paper's code.
_CONVNET = (
    "--batch_size=128",
    "--learning_rate=0.001",
    "--schedule=cosine",
    "--epochs=6",
)
# Figure 1: "regularization was not used", so neither decay nor augmentation, and a constant learning rate.
_FIGURE_1 = ("--network=figure1_convnet", "--augmentation=none", "--batch_size=128", "--schedule=constant")

_IMAGENETTE_HALVES = {
    # tench, cassette player, church, garbage truck, golf ball
    "pretraining": ("n01440764", "n02979186", "n03028079", "n03417042", "n03445777"),
    # English springer, chain saw, French horn, gas pump, parachute
    "target": ("n02102040", "n03000684", "n03394916", "n03425413", "n03888257"),
}

EXPERIMENTS = (
    Experiment(
        name="imagenette",
        title="Imagenette from scratch",
        claim="AlexNet trains from scratch on ten classes of ImageNet photographs. Published runs of such networks "
        "without batch normalization reach 17 to 24 % top-1 error.",
        dataset=IMAGENETTE,
        image_size=256,
        runs=(
            Run("paper", ("--flagfile=imagenette_paper.flags",), "the paper's recipe", "20 to 24 % (others' runs)"),
            Run("better", ("--flagfile=imagenette.flags",), "a better schedule and crops", "17.2 % (best other run)"),
            Run(
                "better_24",
                ("--flagfile=imagenette.flags", "--epochs=24"),
                "a better schedule and crops, half as many epochs",
                baseline="better",
            ),
            Run(
                "source2012",
                ("--flagfile=imagenette.flags", "--network=source2012", "--init=paper", "--epochs=24"),
                "the 2012 code's network, better schedule and crops",
                baseline="better_24",
            ),
        ),
        budget="80 to 170 minutes for one run on two cores with --train_flag=--mixed_precision=bfloat16",
    ),
    Experiment(
        name="layers",
        title="Every layer counts",
        claim="Removing any convolutional layer loses about 2 % of top-1 accuracy (section 7); two towers beat one "
        "with half as many kernels by 1.7 % (section 3.2).",
        dataset=IMAGENETTE,
        image_size=_HALF_WIDTH_SIZE,
        flags=_HALF_WIDTH,
        runs=(
            Run("all", (), "the whole network"),
            *(
                Run(
                    f"without_conv{n}",
                    (f"--network=without_conv{n}",),
                    f"without conv{n}",
                    "+2 points (ImageNet)",
                    "higher",
                )
                for n in range(1, 6)
            ),
            Run("one_tower", ("--network=one_gpu",), "one tower, half the kernels", "+1.7 points (ImageNet)", "higher"),
        ),
        seeds=(0, 1, 2),
        budget="about 5 minutes for one run on two cores",
        remarks=_SMALL_CROPS,
    ),
    Experiment(
        name="regularization",
        title="Crops, flips and dropout against overfitting",
        claim="Without crops and flips the network overfits substantially (section 4.1); without dropout it does too "
        "(section 4.2).",
        dataset=IMAGENETTE,
        image_size=_HALF_WIDTH_SIZE,
        flags=_HALF_WIDTH,
        measure="overfitting",
        runs=(
            Run("both", (), "crops, flips and dropout"),
            Run("no_augmentation", ("--augmentation=none",), "without crops and flips", "overfits", "higher"),
            Run("no_dropout", ("--network=no_dropout",), "without dropout", "overfits", "higher"),
        ),
        seeds=(0, 1, 2),
        budget="about 5 minutes for one run on two cores",
        remarks=_SMALL_CROPS,
    ),
    Experiment(
        name="averaging",
        title="Averaged networks (Table 2)",
        claim="Averaging the predictions of five similar networks reduces the top-1 error from 40.7 % to 38.1 % "
        "(section 6, Table 2).",
        dataset=IMAGENETTE,
        image_size=_HALF_WIDTH_SIZE,
        flags=_HALF_WIDTH,
        runs=(
            Run("one", (), "one network", "40.7 % (ImageNet)"),
            Run("five", (), "average of five", "38.1 % (ImageNet)", "lower", average_of="one"),
        ),
        seeds=(0, 1, 2, 3, 4),
        budget="about 5 minutes for one run on two cores",
        remarks=_SMALL_CROPS,
    ),
    Experiment(
        name="relu_tanh",
        title="ReLU against tanh (Figure 1)",
        claim="A four-layer network on CIFAR-10 reaches 25 % training error six times faster with ReLUs than with tanh "
        "units (section 3.1, Figure 1); learning rates chosen for each, no regularization.",
        dataset=CIFAR10,
        image_size=32,
        flags=_FIGURE_1,
        runs=(
            Run("relu", ("--network_options=activation=relu", "--learning_rate=0.003", "--epochs=8"), "ReLU"),
            Run(
                "tanh",
                ("--network_options=activation=tanh", "--learning_rate=0.01", "--epochs=54"),
                "tanh",
                "6 times as many epochs",
            ),
        ),
        seeds=(0, 1, 2),
        measure="epochs_to_target",
        target=0.25,
        budget="about 15 minutes for one run on two cores",
        remarks="Each learning rate is the best of 0.001, 0.003 and 0.01 by training error after "
        "three epochs (ReLU: 42 %, 35 % and 54 %; tanh: 61 %, 55 % and 50 %).",
    ),
    Experiment(
        name="lrn",
        title="Local response normalization on CIFAR-10",
        claim="A four-layer CNN achieves a 13 % test error rate without normalization and 11 % with it (section 3.3, "
        "footnote 3).",
        dataset=CIFAR10,
        image_size=32,
        flags=_CONVNET,
        runs=(
            Run("without", ("--network=convnet_13pct",), "convnet_13pct", "13 %"),
            Run("with", ("--network=convnet_13pct_lrn",), "convnet_13pct with LRN", "11 %", "lower"),
            Run("wider", ("--network=convnet_11pct",), "convnet_11pct (LRN and a wider layer)", "11 %", "lower"),
        ),
        seeds=(0, 1, 2),
        budget="about 5 minutes for one run on two cores; the originals trained 160 to 520 epochs",
    ),
    Experiment(
        name="pooling",
        title="Overlapping pooling on CIFAR-10",
        claim="Pooling windows that overlap (3 x 3, stride 2) reduce the top-1 error by 0.4 points against 2 x 2, and "
        "overfitting slightly (section 3.4, on ImageNet).",
        dataset=CIFAR10,
        image_size=32,
        flags=(*_CONVNET, "--network=convnet_13pct"),
        runs=(
            Run("overlapping", (), "3 x 3, stride 2"),
            Run("separate", ("--network_options=pool_size=2",), "2 x 2, stride 2", "+0.4 points (ImageNet)", "higher"),
        ),
        seeds=(0, 1, 2),
        budget="about 5 minutes for one run on two cores",
    ),
    Experiment(
        name="color",
        title="PCA colour augmentation on CIFAR-10",
        claim="Adding multiples of the principal components of the training set's pixels reduces the top-1 error by "
        "over 1 point (section 4.1, on ImageNet).",
        dataset=CIFAR10,
        image_size=32,
        flags=(*_CONVNET, "--network=convnet_13pct"),
        runs=(
            Run("without", (), "without"),
            Run("with", ("--color_augmentation=paper",), "with", "-1 point or more (ImageNet)", "lower"),
        ),
        seeds=(0, 1, 2),
        budget="about 5 minutes for one run on two cores",
    ),
    Experiment(
        name="units",
        title="tanh and the initialization at half width",
        claim="Networks this large could not have been tried with saturating units (section 3.1). Weights of standard "
        "deviation 0.01 and biases of 1 accelerate the early stages of learning (section 5); He's initialization "
        "is later.",
        dataset=IMAGENETTE,
        image_size=_HALF_WIDTH_SIZE,
        flags=_HALF_WIDTH,
        runs=(
            Run("relu", (), "ReLU, He initialization"),
            Run("paper_init", ("--init=paper",), "ReLU, the paper's initialization"),
            Run("tanh", ("--network=tanh",), "tanh, He initialization", "slower by far", "higher"),
        ),
        seeds=(0, 1, 2),
        budget="about 5 minutes for one run on two cores",
        remarks=_SMALL_CROPS,
    ),
    Experiment(
        name="pretraining",
        title="Pre-training and a sixth convolution",
        claim="A network with a sixth convolution, pre-trained on other ImageNet images and fine-tuned, has a top-1 "
        "error of 39.0 %, against 40.7 % of five convolutions without pre-training (section 6, Table 2: 1 CNN* "
        "and 1 CNN).",
        dataset=IMAGENETTE,
        image_size=_HALF_WIDTH_SIZE,
        flags=_HALF_WIDTH,
        runs=(
            Run("scratch", (), "five convolutions", "40.7 % (ImageNet)", subset="target"),
            Run("other_half", (), "five convolutions, the other classes", subset="pretraining"),
            Run("finetuned", (), "five convolutions, fine-tuned from them", subset="target", init_from="other_half"),
            Run("conv6_scratch", ("--network=conv6",), "six convolutions", subset="target"),
            Run("conv6_other_half", ("--network=conv6",), "six convolutions, the other classes", subset="pretraining"),
            Run(
                "conv6_finetuned",
                ("--network=conv6",),
                "six convolutions, fine-tuned from them",
                "39.0 % (ImageNet)",
                subset="target",
                init_from="conv6_other_half",
            ),
        ),
        seeds=(0, 1, 2),
        budget="about 3 minutes for one run on two cores",
        remarks=f"{_SMALL_CROPS} All runs but those of the other classes are trained and evaluated on five "
        "of the ten classes; fine-tuning starts from those of the other five. Pre-training here has about as many "
        "images as the target; in the paper it has 12 times as many.",
        subsets=_IMAGENETTE_HALVES,
    ),
)


def find_experiment(name: str) -> Experiment:
    """The experiment called `name`.

    Raises:
      ValueError: there is none.
    """
    for experiment in EXPERIMENTS:
        if experiment.name == name:
            return experiment
    names = ", ".join(experiment.name for experiment in EXPERIMENTS)
    raise ValueError(f"experiment={name}: expected one of {names}")
