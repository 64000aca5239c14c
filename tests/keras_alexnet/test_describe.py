import subprocess
import sys

import pytest

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.describe import differences, multiply_adds

COMMAND = [sys.executable, "-m", "keras_alexnet.describe"]


def described(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *flags], capture_output=True, text=True)


def test_the_papers_network_is_described_with_its_published_sizes():
    output = described("--variant=paper").stdout
    # Parameters and multiply-adds layer by layer, as counted by hand from layers-145.cfg.
    for numbers in (
        ("conv1", "55 x 55 x 48", "34,944", "105,415,200"),
        ("conv2", "27 x 27 x 128", "307,456", "223,948,800"),
        ("conv3", "13 x 13 x 192", "885,120", "149,520,384"),
        ("conv4", "13 x 13 x 192", "663,936", "112,140,288"),
        ("conv5", "13 x 13 x 128", "442,624", "74,760,192"),
        ("fc6", "2048", "37,752,832", "37,748,736"),
        ("fc7", "2048", "16,781,312", "16,777,216"),
        ("fc8", "1000", "4,097,000", "4,096,000"),
        ("total", "60,965,224", "724,406,816"),
    ):
        assert any(all(number in line for number in numbers) for line in output.splitlines()), numbers
    assert "where paper departs from source2012" in output and "paper, section 3.3" in output


def test_two_variants_stand_side_by_side():
    for flags in (["--diff", "paper", "source2012"], ["--diff=paper,source2012"]):
        run = described(*flags)
        assert run.returncode == 0, run.stderr
        assert "relu1, lrn1, pool1" in run.stdout and "lrn1, pool1, relu1" in run.stdout
        assert "rnorm2" in run.stdout and "weights.cu" in run.stdout and "fc6" not in run.stdout


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--diff", "paper"], "found 1 networks; expected two"),
        (["--diff", "paper", "lenet"], "'lenet' is unknown; expected one of paper, source2012, caffe"),
        (["paper"], "unexpected argument 'paper'"),
        (["--variant=lenet"], "lenet"),
    ],
)
def test_what_cannot_be_described_is_named_in_a_line(flags, says):
    run = described(*flags)
    assert run.returncode == 1 and says in run.stderr and len(run.stderr.splitlines()) == 1


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
