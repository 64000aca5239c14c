"""TrainingConfig, and the flags, help and tables that are generated from it. Nothing here needs TensorFlow."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from keras_alexnet.training import flags as training_flags
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.flags import parse_flags
from keras_alexnet.training.setting import GROUPS, setting_of


@pytest.mark.parametrize(
    "value, says",
    [
        ({"seed": -5}, "seed=-5: expected an integer from 0 to 4294967295"),
        ({"width": 1e9}, "width=1000000000.0: expected a number from 0.001 to 16"),
        ({"learning_rate": float("inf")}, "learning_rate=inf: expected a number from 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: expected a number from 0"),
        ({"epochs": 1.5}, "epochs=1.5: expected an integer"),
        ({"batch_size": True}, "batch_size=True: expected an integer"),
        ({"virtual_devices": 10**6}, "virtual_devices=1000000: expected an integer from 0 to 64"),
        ({"network": "vgg"}, "network=vgg: expected one of paper, "),
        ({"schedule": "linear"}, "schedule=linear: expected one of plateau, step, cosine, constant, hand2012"),
        ({"dataset": 3}, "dataset=3: expected a str"),
        ({"devices": "GPU:0"}, "devices=GPU:0: expected a list"),
    ],
)
def test_values_out_of_range_are_named(value, says):
    with pytest.raises(ValueError) as error:
        TrainingConfig(**value)
    assert str(error.value).startswith(says)


def test_paths_and_old_names_of_values_are_accepted():
    config = TrainingConfig(model_dir=Path("runs") / "a", schedule="staged")
    assert config.model_dir == str(Path("runs") / "a") and config.schedule == "step"


def test_flags_without_values_are_the_defaults():
    assert parse_flags([]) == TrainingConfig()


def test_a_command_line_becomes_a_config(tmp_path):
    (tmp_path / "mine.flags").write_text("--width=0.5\n--epochs=3\n")
    arguments = [f"--flagfile={tmp_path / 'mine.flags'}", "--variant=caffe", "--devices=GPU:0,GPU:2", "--epochs=4"]
    config = parse_flags([*arguments, "--synthetic", "--model_dir=~/run", "--verbosity=1"])
    expected = TrainingConfig(network="caffe", width=0.5, epochs=4, devices=["GPU:0", "GPU:2"], synthetic=True)
    assert config == dataclasses.replace(expected, model_dir=str(Path.home() / "run"))
    assert "epochs" not in flags.FLAGS


@pytest.mark.parametrize(
    "argument, says",
    [
        ("--epochs=-1", "epochs=-1: expected an integer from"),
        ("--epochs=many", "--epochs=many"),
        ("--epoch=3", "--epoch=3: expected --name=value with a flag of keras_alexnet.train"),
        ("epochs=3", "epochs=3: expected --name=value"),
        ("--epochs", "epochs"),
        ("--flagfile=none.flags", "--flagfile=none.flags: no such file"),
    ],
)
def test_a_command_line_that_the_train_command_refuses_is_an_error(argument, says):
    with pytest.raises(ValueError, match=says):
        parse_flags([argument])


def test_help_and_table_have_every_flag_in_its_group():
    text, table = training_flags.help_text(), training_flags.flag_table_markdown()
    for shown, heading in ((text, "\n{}:\n"), (table, "### {}\n")):
        titles = [heading.format(group if shown is text else group.capitalize()) for group in GROUPS]
        ends = [*(shown.index(title) for title in titles[1:]), len(shown)]
        for group, title, end in zip(GROUPS, titles, ends, strict=True):
            section = shown[shown.index(title) : end]
            for field in dataclasses.fields(TrainingConfig):
                assert (f"--{field.name}" in section) >= (setting_of(field).group == group), field.name
    assert "--network, --variant" in text and "| must be the same |" in table


def test_help_needs_no_tensorflow():
    code = (
        "import sys; sys.argv = ['train', '--help']\n"
        "import keras_alexnet.train as train\n"
        "try:\n    train.command()\nfinally:\n    assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == "" and "devices and clusters:" in run.stdout
