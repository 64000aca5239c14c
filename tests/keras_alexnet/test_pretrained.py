"""`load_network` for every kind of path; keywords are required or refused by what the file contains."""

import zipfile

import keras
import numpy as np
import pytest

from keras_alexnet import AlexNet, networks
from keras_alexnet.imagenet import imagenet_wnids
from keras_alexnet.pretrained import load_network
from keras_alexnet.pretrained.error_rates import read_error_rates
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers import weight_files as files
from tests.helpers.image_files import encode, photograph, write_files
from tests.helpers.tiny_training import tiny

WIDTH = 1 / 32


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return AlexNet("caffe", classes=4, width=WIDTH, init="he", mean=[1.0, 2.0, 3.0], classifier_activation=None)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    return folder


def assert_same_outputs(model, other):
    shape = (2, *model.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    np.testing.assert_allclose(model.predict_on_batch(images), other.predict_on_batch(images), atol=1e-6)


@pytest.mark.numeric
def test_a_keras_file_contains_the_whole_network(model, saved):
    network = load_network(saved / "m.keras")
    assert_same_outputs(network.model, model)
    assert network.from_logits and network.preprocessing == "none" and network.class_names == ()
    assert (network.resize, network.resized_size) == ("warp", 256)


@pytest.mark.numeric
def test_weights_need_what_they_do_not_contain(model, saved):
    path = saved / "m.weights.h5"
    options = {"width": WIDTH, "init": "he", "mean": [1.0, 2.0, 3.0]}
    network = load_network(path, network="caffe", classes=4, **options)
    assert_same_outputs(network.model, model)
    assert (network.network, network.options, network.resize) == ("caffe", options, "warp")
    for given, message in (
        ({}, "^network is missing: "),
        ({"network": "caffe"}, "^classes is missing: "),
        ({"network": "caffe", "classes": 4, "width": WIDTH}, "^init is missing: .*expected 'paper' or 'he'"),
        ({"network": "caffe", "classes": 5, "width": WIDTH, "init": "he"}, r"m\.weights\.h5: fc8: found .*"),
        ({"network": "caffe", "classes": 4, "init": "he", "alpha": 2}, "^alpha=2: caffe has no such option"),
        ({"network": "alexnet", "classes": 4}, "^network=alexnet: expected one of paper"),
    ):
        with pytest.raises(ValueError, match=message):
            load_network(path, **given)


@pytest.mark.numeric
@pytest.mark.medium
def test_weights_of_any_network_of_the_registry(tmp_path):
    name, options = "keras.applications.MobileNet", {"alpha": 0.25, "image_size": 64}
    model = networks.create(name, 3, classifier_activation=None, **options)
    model.save_weights(tmp_path / "m.weights.h5")
    network = load_network(tmp_path / "m.weights.h5", network=name, classes=3, **options)
    assert_same_outputs(network.model, model)
    assert network.resized_size == 73 and network.from_logits and network.preprocessing == "none"
    with pytest.raises(ValueError, match=r"m\.weights\.h5: conv_preds: found \[.*expected \["):
        load_network(tmp_path / "m.weights.h5", network=name, classes=4, **options)


def test_foreign_weights_name_their_network_and_classes(tmp_path):
    weights = files.randomize(files.small("caffe", classes=5))
    path = files.caffemodel(tmp_path / "m.caffemodel", files.foreign_blobs(weights, 2))
    network = load_network(path, width=1 / 16)
    assert network.network == "caffe" and network.model.output_shape == (None, 5) and network.resize == "warp"
    with pytest.raises(ValueError, match=r"^classes=5: not accepted for .*m\.caffemodel"):
        load_network(path, classes=5, width=1 / 16)
    with pytest.raises(ValueError, match="variant='caffe' or 'caffenet'"):
        load_network(path, network="paper", width=1 / 16)


@pytest.mark.parametrize("given", [{"network": "paper"}, {"classes": 4}, {"width": 0.5}])
def test_keywords_are_refused_where_the_file_contains_them(saved, given):
    (name,) = given
    with pytest.raises(ValueError, match=rf"^{name}=.*: not accepted for .*m\.keras, because the file contains it"):
        load_network(saved / "m.keras", **given)


@pytest.mark.medium
def test_a_run_directory_contains_everything(trained, prepared):
    network = load_network(trained)
    assert network.class_names == ("blue", "green", "red") and network.from_logits and network.steps == 12
    assert network.network == "paper" and network.training["statistics"]["images"] == 24
    assert network.training["dataset"] == str(prepared)
    with pytest.raises(ValueError, match=r"^network='paper': not accepted"):
        load_network(trained, network="paper")


@pytest.mark.medium
def test_the_record_of_a_run_has_every_decay_and_the_names_of_imagenets_classes(tmp_path):
    wnids, names = ("n01440764", "n02102040"), ("n01440764 tench", "n02102040 English springer")
    write_files(tmp_path, {f"{wnid}/{n}.jpg": encode(photograph(seed=n)) for wnid in wnids for n in range(2)})
    data, run = tmp_path / "data", tmp_path / "run"
    prepare(open_source(f"folder:{tmp_path}"), data, size=32)
    train_and_evaluate(tiny(data, run, network="convnet_11pct", width=1.0, batch_size=4, steps=1))
    network = load_network(run)
    assert (network.class_names, network.display_names) == (wnids, names)
    assert network.training["optimizer"] == "SGD, momentum 0.9, weight decay 0, learning rate of biases x 2"
    assert network.training["layer_weight_decay"] == {"local3": 0.004, "local4": 0.004, "fc10": 0.01}


def test_a_keras_file_of_another_version_is_named(tmp_path):
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as saved, zipfile.ZipFile(tmp_path / "later.keras", "w") as later:
        for name in saved.namelist():
            content = saved.read(name).replace(keras.__version__.encode(), b"3.99.0")
            later.writestr(name, content.replace(b'"units":', b'"later_option": 1, "units":'))
    with pytest.raises(ValueError, match=rf"later_option.*written by Keras 3\.99\.0, read by {keras.__version__}"):
        load_network(tmp_path / "later.keras", preprocessing="none", from_logits=True)


def test_other_keras_files_need_preprocessing_and_kind_of_output(tmp_path):
    model = keras.Sequential([keras.Input((56, 56, 3)), keras.layers.Flatten(), keras.layers.Dense(1000)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"^preprocessing is missing: "):
        load_network(tmp_path / "m.keras")
    network = load_network(tmp_path / "m.keras", preprocessing="torch", from_logits=True)
    assert network.resized_size == 64 and network.class_names == imagenet_wnids()
    assert network.display_names[0] == "n01440764 tench"


def test_paths_without_a_network_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no weights")
    for path, found in (
        (tmp_path / "none", "no such file or directory; expected a run directory, an export, a .keras file, a preset"),
        (tmp_path, "found neither model.json nor saved_model.pb; expected a run directory"),
        (tmp_path / "notes.txt", "found a file that begins with"),
    ):
        with pytest.raises(ValueError, match=found) as raised:
            load_network(path)
        assert str(raised.value).startswith(f"path={path}: ")


def test_a_damaged_export_is_named(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"^path=.*/1: .*expected an export"):
        load_network(tmp_path)


def test_error_rates_are_the_newest_of_the_same_networks_and_steps(tmp_path):
    file = tmp_path / "results.csv"
    assert read_error_rates(file, "3") == []
    row = "now,{},{},photos,validation,ten,9,0,{},0.0,1.25,0.5,0.03\n"
    header = "time,model_dir,steps,dataset,split,crops,images,skipped,top1_error,top5_error,loss,macro_error,"
    rows = [("a + b", "3 + 3", 0.5), ("a + b", "3 + 3", 0.25), ("a + c", "3 + 3", 0.75), ("a", "3", 0.125)]
    file.write_text(f"{header}calibration_error\n" + "".join(row.format(*values) for values in rows))
    (average,) = read_error_rates(file, "3 + 3", "a + b")
    assert (average["top1_error"], average["calibration_error"], average["images"]) == (0.25, 0.03, 9)
    assert [rates["top1_error"] for rates in read_error_rates(file, "3")] == [0.125]
