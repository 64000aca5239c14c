import pytest
import tensorflow as tf

from pipelines.cli.literal_path import literal_path


@pytest.mark.parametrize("name", ["plain", "a[b]*?", "back\\slash"])
def test_a_saved_model_loads_from_a_folder_with_any_name(name, tmp_path):
    module = tf.Module()
    module.number = tf.Variable(7.0)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    folder = (tmp_path / "saved").rename(tmp_path / name)
    with literal_path(folder) as path:
        loaded = tf.saved_model.load(path)
    assert loaded.number.numpy() == 7
    assert (path == str(folder)) == (name == "plain")
