import subprocess
import sys

import pytest
from absl import flags

from keras_alexnet import VARIANTS, AlexNet, networks
from keras_alexnet.describe import define_flags, main, multiply_adds
from keras_alexnet.variants.differences import differences


@pytest.fixture
def described(capsys):
    """Runs the command in this process and returns what it prints."""
    flags.FLAGS.unparse_flags()
    before = set(flags.FLAGS)
    define_flags()

    def described(*arguments: str) -> str:
        main(flags.FLAGS(["describe", *arguments]))
        return capsys.readouterr().out

    yield described
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def test_the_papers_network_is_described_with_its_published_sizes(described):
    output = described("--variant=paper")
    # Parameters and multiply-adds layer by layer, as counted by hand from layers-145.cfg.
    for numbers in (
        ("conv1", "55 x 55 x 48", "34,944", "105,415,200", "96 kernels 11 x 11, stride 4", "connectivity full"),
        ("conv2", "27 x 27 x 128", "307,456", "223,948,800", "padding 2", "connectivity grouped"),
        ("conv3", "13 x 13 x 192", "885,120", "149,520,384"),
        ("conv4", "13 x 13 x 192", "663,936", "112,140,288"),
        ("conv5", "13 x 13 x 128", "442,624", "74,760,192"),
        ("fc6", "2048", "37,752,832", "37,748,736"),
        ("fc7", "2048", "16,781,312", "16,777,216"),
        ("fc8", "1000", "4,097,000", "4,096,000"),
        ("total", "60,965,224", "724,406,816"),
    ):
        text = " ".join(output.split())
        assert all(number in text for number in numbers), numbers
        assert any(all(number in line for number in numbers[:4]) for line in output.splitlines()), numbers
    assert "departures of paper from source2012" in output and "paper, section 3.3" in output


def test_any_network_is_described_layer_by_layer(described):
    name = "keras.applications.MobileNet"
    output = described(f"--network={name}", "--classes=7")
    model = networks.create(name, 7)
    assert f"{model.count_params():,}" in output and f"{multiply_adds(model):,}" in output
    # 3 x 3 x 3 kernels, 32 filters, 112 x 112 positions; then one 3 x 3 kernel per channel.
    assert any(all(word in line for word in ("conv1", "864", "10,838,016")) for line in output.splitlines())
    assert any(all(word in line for word in ("conv_dw_1", "288", "3,612,672")) for line in output.splitlines())
    # MobileNet, table 8: 569 million multiply-adds with 1000 classes.
    assert multiply_adds(model) + 993 * 1024 == pytest.approx(569e6, rel=0.01)


@pytest.mark.parametrize("arguments", [["--diff", "paper", "source2012"], ["--diff=paper,source2012"]])
def test_two_variants_are_compared(described, arguments):
    output = described(*arguments)
    assert "relu1, lrn1, pool1" in output and "lrn1, pool1, relu1" in output
    assert "rnorm2" in output and "weights.cu" in output and "fc6" not in output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--diff", "paper"], "diff=paper: expected two of paper, source2012"),
        (["--diff", "paper", "lenet"], "diff=paper,lenet: expected two of"),
        (["paper"], "unexpected argument 'paper'"),
        (["--variant=lenet"], "lenet"),
        (["--network=keras.applications.MobileNet", "--width=0.5"], "width=0.5: .*has no such option"),
    ],
)
def test_wrong_arguments_are_named(described, arguments, message):
    with pytest.raises(ValueError, match=message):
        described(*arguments)


@pytest.mark.subprocess
def test_the_command_reports_a_wrong_network_in_one_line():
    command = [sys.executable, "-m", "keras_alexnet.describe", "--network=lenet"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and not run.stdout and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("error: --network=lenet: ")


def test_every_difference_has_a_source():
    for variant in VARIANTS.values():
        for subject, *_ in differences(variant, VARIANTS["paper"]):
            assert variant.source(subject)


def test_a_variant_does_not_differ_from_itself():
    for variant in VARIANTS.values():
        assert not differences(variant, variant)


def test_multiply_adds_of_a_narrow_network_are_those_of_its_kernels():
    model = AlexNet("torchvision", width=1 / 8, classes=10)
    assert multiply_adds(model.get_layer("conv1")) == 55 * 55 * (11 * 11 * 3) * 8
    assert multiply_adds(model.get_layer("fc6")) == 6 * 6 * 32 * 512
    assert multiply_adds(model.get_layer("relu1")) == 0
