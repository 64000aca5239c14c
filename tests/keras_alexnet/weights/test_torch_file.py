"""PyTorch's files: what is read, what is refused, and that nothing in them is executed."""

import argparse
import pickle
import sys

import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import load_weights, recognise
from tests.helpers import weight_files as files
from tests.helpers.weight_files import refused, small

torch = pytest.importorskip("torch", reason="reading PyTorch's files is tested with PyTorch only: pip install torch")
nn, F8 = torch.nn, torch.float8_e4m3fn

from tests.helpers.torch_files import saved, state_dict  # noqa: E402 (after the skip)

TORCHVISION = VARIANTS["torchvision"]
FILTERS = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


@pytest.fixture(scope="module")
def model():
    return small("torchvision")


@pytest.fixture
def weights(model):
    return files.randomize(model)


@pytest.fixture
def state(weights):
    return state_dict(weights, maps_towers=1)


FORMS = {
    "as it is": lambda state: state,
    "of DataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "in a checkpoint": lambda state: {"epoch": 90, "state_dict": state, "optimizer": {"lr": 0.1}},
    "in torchvision's checkpoint": lambda state: {"model": state, "epoch": 90},
    "in the tutorials' checkpoint": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}, "loss": 0.1},
    "as net": lambda state: {"net": state, "acc": 0.5},
    "as network": lambda state: {"network": state},
    "as module": lambda state: {"module": state, "global_steps": 3},
    "beside its average": lambda state: {"model_ema": dict.fromkeys(state), "model": state},
    "as an average": lambda state: {"epoch": 3, "state_dict_ema": state},
    "in a checkpoint inside another": lambda state: {"model": {"state_dict": state}, "epoch": 3},
    "of DataParallel in a checkpoint": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    "parameters": lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
    "double": lambda state: {name: tensor.double() for name, tensor in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("archive", [True, False])
def test_a_state_dict_is_loaded_exactly(tmp_path, model, weights, state, form, archive):
    path = saved(tmp_path / "w", FORMS[form](state), _use_new_zipfile_serialization=archive)
    files.randomize(model)
    load_weights(model, path, TORCHVISION)
    assert recognise(path) == "torch" and files.same_weights(model, weights)


@pytest.mark.parametrize("dtype, precision", [(torch.float16, 2**-10), (torch.bfloat16, 2**-7), (F8, 2**-3)], ids=str)
def test_lower_precision_is_read(tmp_path, model, weights, state, dtype, precision):
    load_weights(model, saved(tmp_path / "w", {key: value.to(dtype) for key, value in state.items()}), TORCHVISION)
    expected = weights["fc7"][0]
    np.testing.assert_allclose(model.get_layer("fc7").get_weights()[0], expected, rtol=precision, atol=2**-9)


@pytest.mark.parametrize("name", ["paper", "one_gpu", "conv6", "without_conv1"])
def test_layers_are_taken_in_their_order_whatever_their_names(tmp_path, name):
    variant = VARIANTS[name]
    model = small(variant)
    expected = files.randomize(model)
    names = [f"net.{number}" for number in range(len(expected))]
    path = saved(tmp_path / "w", state_dict(expected, variant.towers, names))
    files.randomize(model)
    load_weights(model, path, variant)
    assert files.same_weights(model, expected)


def test_the_paper_s_network_is_not_torchvision_s(tmp_path, state):
    says = ("conv1 (features.0)", "found (4, 3, 11, 11)", "expected (6, 3, 11, 11)", "OIHW")
    refused(small("paper"), saved(tmp_path / "w", state), VARIANTS["paper"], *says)


def test_the_variant_of_other_filters_is_named(tmp_path, model):
    wide = {f"features.{n}": (torch.zeros(size), torch.zeros(size[0])) for n, size in FILTERS.items()}
    state = {
        f"{name}.{part}": t for name, pair in wide.items() for part, t in zip(("weight", "bias"), pair, strict=True)
    }
    features = small("paper", include_top=False)
    state |= {f"classifier.{n}.weight": torch.zeros(2, 2) for n in (1, 4)}
    state |= {f"classifier.{n}.bias": torch.zeros(2) for n in (1, 4)}
    refused(features, saved(tmp_path / "w", state), VARIANTS["paper"], "conv1 (features.0)", "'torchvision'")


def test_missing_groups_are_recognised(tmp_path):
    model = small("paper")
    state = state_dict(files.randomize(model), 2)
    state["features.3.weight"] = torch.cat([state["features.3.weight"]] * 2, 1)
    path = saved(tmp_path / "w", state)
    refused(model, path, VARIANTS["paper"], "conv2 (features.3)", "(16, 6, 5, 5)", "(16, 3, 5, 5)", "no groups")


def test_other_networks_are_refused(tmp_path, model, state):
    more = {"features.20.weight": torch.zeros(4, 4, 3, 3), "features.20.bias": torch.zeros(4)}
    refused(
        model, saved(tmp_path / "w", state | more), TORCHVISION, "found 6 convolutions", "features.20", "expected 5"
    )
    batch = {"bn.weight": torch.zeros(4), "bn.bias": torch.zeros(4)}
    refused(model, saved(tmp_path / "w", state | batch), TORCHVISION, "bn", "(4,)")
    running = {"bn.running_mean": torch.zeros(4)}
    refused(model, saved(tmp_path / "w", state | running), TORCHVISION, "bn.running_mean")
    del state["features.6.bias"]
    refused(model, saved(tmp_path / "w", state), TORCHVISION, "features.6", "only a weight")


@pytest.mark.parametrize("missing, says", [("classifier.6", "fc8: found no such"), ("features.10", "conv5: found no")])
def test_a_missing_layer_is_named(tmp_path, model, state, missing, says):
    del state[f"{missing}.weight"], state[f"{missing}.bias"]
    refused(model, saved(tmp_path / "w", state), TORCHVISION, says)


def test_other_classes_are_refused_with_the_ways_out(tmp_path, state):
    says = ("fc8 (classifier.6)", "(7, 256)", "(3, 256)", "classes=7", "skip=('fc8',)")
    refused(small("torchvision", classes=3), saved(tmp_path / "w", state), TORCHVISION, *says)


@pytest.mark.parametrize("archive", [True, False])
def test_a_hostile_file_is_not_executed(tmp_path, model, state, archive):
    trap = tmp_path / "executed"
    hostile = files.Hostile(trap)
    path = saved(tmp_path / "w", state | {"x.weight": hostile}, _use_new_zipfile_serialization=archive)
    refused(model, path, TORCHVISION, "eval", "nothing in it was executed")
    assert not trap.exists()
    # It would have been.
    pickle.loads(pickle.dumps(hostile)).close()
    assert trap.exists()


@pytest.mark.parametrize(
    "content, says",
    [
        ([1, 2], "found a list"),
        ({}, "found an empty dictionary"),
        ({"a.weight": 3}, "a.weight: found int"),
        ({"a.weight": torch.zeros(3, dtype=torch.int32)}, "a.weight: found torch.int32"),
        ({"a.weight": torch.zeros(3, 3).to_sparse()}, "a.weight: found"),
        ({"a.weight": torch.zeros(0, 2**62)}, "a.weight: found a tensor of shape (0, 4611686018427387904) without"),
        ({"a.weight": torch.empty(2**20, 2**20, device="meta")}, "a.weight: found a tensor of shape"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"a": 1}, "found 'a'"),
        ({3: 1}, "found '3'"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, model, content, says):
    refused(model, saved(tmp_path / "w", content), TORCHVISION, says)


def test_tensors_that_say_to_be_larger_than_the_file_are_refused(tmp_path, model, state):
    for dtype in (torch.float32, torch.bfloat16):
        state["features.3.weight"] = torch.zeros(1, dtype=dtype).expand(10**5, 10**5, 10, 10)
        refused(model, saved(tmp_path / "w", state), TORCHVISION, "features.3.weight: claims", "bytes")


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    "more, says",
    [
        ({"args": argparse.Namespace(lr=0.1)}, "argparse.Namespace"),
        ({"model": nn.Linear(2, 2)}, "torch.nn.modules.linear.Linear"),
    ],
)
def test_a_checkpoint_with_more_than_tensors_is_refused_with_the_way_to_convert_it(
    tmp_path, model, state, more, says, archive
):
    path = saved(tmp_path / "w", {"state_dict": state} | more, _use_new_zipfile_serialization=archive)
    refused(
        model, path, TORCHVISION, says, "nothing in it was executed", "torch.save(model.state_dict(), 'weights.pth')"
    )


def test_torchscript_is_refused_with_the_way_to_convert_it(tmp_path, model):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "w")
    refused(
        model, tmp_path / "w", TORCHVISION, "a TorchScript program", "torch.save(model.state_dict(), 'weights.pth')"
    )


def test_a_checkpoint_that_contains_itself_is_refused(tmp_path, model):
    checkpoint = {}
    checkpoint["model"] = checkpoint
    refused(model, saved(tmp_path / "w", checkpoint), TORCHVISION, "found 'model'")


@pytest.mark.parametrize("archive", [True, False])
def test_a_truncated_file_is_refused(tmp_path, model, state, archive):
    content = saved(tmp_path / "w", state, _use_new_zipfile_serialization=archive).read_bytes()
    for part in (0.001, 0.3, 0.9, 0.9999):
        (tmp_path / "w").write_bytes(content[: int(part * len(content))])
        refused(model, tmp_path / "w", TORCHVISION)


def test_without_pytorch_the_error_says_what_to_install(tmp_path, model, state, monkeypatch):
    path = saved(tmp_path / "w", state)
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(model, path, TORCHVISION, "pip install 'keras-alexnet[torch]'")
