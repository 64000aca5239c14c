import subprocess
import sys

import pytest

from keras_alexnet.model_flags import define_model_flags, load_model, load_models
from tests.helpers import weight_files as files
from tests.helpers.commands import defined_flags

COMMANDS = ("keras_alexnet.evaluate", "keras_alexnet.describe", "keras_alexnet.convert")


@pytest.mark.subprocess
def test_commands_import_no_tensorflow_at_module_level():
    program = f"import sys, {', '.join(COMMANDS)}; print([n for n in ('tensorflow', 'keras') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("name", ["model", "model_dir", "weights"])
def test_a_network_is_loaded_with_its_class_names(tmp_path, name):
    model = files.small("caffe", classes=3)
    files.npy(tmp_path / "w.npy", files.caffe_tensorflow(files.foreign_blobs(files.randomize(model), 2)))
    names = tmp_path / "names.txt"
    with defined_flags(define_model_flags) as values:
        values(["test", f"--{name}={tmp_path / 'w.npy'}", f"--class_names={names}", "--width=0.0625"])
        with pytest.raises(ValueError, match=r"^class_names=.*No such file"):
            load_model(values)
        names.write_text("ant\nbee\n")
        with pytest.raises(ValueError, match=r"^class_names=.*found 2 names; expected 3"):
            load_model(values)
        names.write_text("ant\nbee\ncat\n")
        assert load_model(values).class_names == ("ant", "bee", "cat")


def test_a_whole_network_takes_no_arguments_of_weight_files(tmp_path):
    files.small("paper", classes=3).save(tmp_path / "m.keras")
    with defined_flags(define_model_flags) as values:
        values(["test", f"--model={tmp_path / 'm.keras'}", "--variant=paper"])
        with pytest.raises(ValueError, match=r"^network='paper': .*the file contains it"):
            load_model(values)


def test_the_same_network_twice_is_refused(tmp_path):
    with defined_flags(lambda: define_model_flags(several=True)) as values:
        values(["test", f"--model={tmp_path}", f"--model={tmp_path}/."])
        with pytest.raises(ValueError, match=r"^model=.*/\.: given twice; expected different networks"):
            load_models(values)
