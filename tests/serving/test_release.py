"""Labels and versions of a running server are moved by the release command."""

import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving import release as release_module
from serving.release import promoted, rolled_back
from tests.helpers import backends
from tests.helpers.backends import BACKENDS, models_config, wait_until

FIRST, SECOND = (1, "red"), (2, "other")


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory, export: Callable) -> Path:
    base = tmp_path_factory.mktemp("two")
    export(base, 1)
    export(base, 2)
    return base


@pytest.fixture
def red(photograph: Callable[..., bytes]) -> bytes:
    return photograph((200, 40, 40))


@pytest.fixture
def config(tmp_path: Path, two_versions: Path) -> Path:
    """A configuration file with a comment, a model without labels, and a second model."""
    base = shutil.copytree(two_versions, tmp_path / "models")
    one = text_format.Parse(models_config(base, (1,)), ModelServerConfig())
    one.model_config_list.config.add().CopyFrom(one.model_config_list.config[0])
    one.model_config_list.config[1].name = "neighbour"
    path = tmp_path / "models.config"
    path.write_text(f"# What we serve.\n#\n\n{text_format.MessageToString(one)}")
    return path


@pytest.fixture(params=BACKENDS)
def running(request: pytest.FixtureRequest, start_server: Callable, config: Path) -> backends.Running:
    return start_server(request.param, f"--model_config_file={config}")


@pytest.fixture
def release(command: Callable, running: backends.Running, config: Path) -> Callable[..., None]:
    """Runs the command against the server, as `python -m serving.release` would."""
    fixed = (f"--server={running.address}", f"--model_config_file={config}", "--timeout_s=20")
    return lambda *arguments: command(release_module, *arguments[:1], *fixed, *arguments[1:])


def stored(config: Path) -> dict[str, int]:
    """The labels in the file."""
    (model, _) = text_format.Parse(config.read_text(), ModelServerConfig()).model_config_list.config
    return dict(model.version_labels)


def test_a_version_goes_from_canary_to_stable_and_back(running, release, config, red, capsys):
    release("promote", "--label=canary", "--version=2")
    assert capsys.readouterr().out == "alexnet: no labels -> canary 2, stable 1\n"
    assert running.answer(red, label="stable") == FIRST
    assert running.answer(red, label="canary") == SECOND
    release("promote")
    assert running.answer(red, label="stable") == running.answer(red) == SECOND
    assert running.answer(red, label="previous") == FIRST
    assert stored(config) == {"stable": 2, "previous": 1}
    release("rollback")
    assert running.answer(red, label="stable") == FIRST
    wait_until(lambda: running.available() == {1})
    assert stored(config) == {"stable": 1}


def test_a_canary_is_taken_back(running, release, config, red):
    release("promote", "--label=canary", "--version=2")
    release("rollback", "--label=canary")
    wait_until(lambda: running.available() == {1})
    assert running.answer(red, label="stable") == FIRST
    assert stored(config) == {"stable": 1}


def test_the_other_models_and_the_comment_at_the_head_stay(running, release, config, red):
    release("promote", "--version=2")
    assert running.answer(red, name="neighbour") == FIRST
    assert config.read_text().startswith("# What we serve.\n#\n\nmodel_config_list")
    assert sorted(path.name for path in config.parent.iterdir()) == ["models", "models.config"]


def test_status_shows_versions_and_labels(release, capsys):
    release("promote", "--version=2")
    capsys.readouterr()
    release("status")
    lines = capsys.readouterr().out.splitlines()
    assert any(re.search(r"│ 2 +│ AVAILABLE │ stable", line) for line in lines)
    assert any(re.search(r"│ 1 +│ AVAILABLE │ previous", line) for line in lines)


def test_no_request_for_stable_fails_while_it_moves(running, release, red):
    release("promote", "--label=canary", "--version=2")
    leave = threading.Event()

    def ask() -> set[tuple[int, str]]:
        answers = set()
        while not leave.is_set():
            answers.add(running.answer(red, label="stable"))
        return answers

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for _ in range(2):
                release("promote", "--version=2")
                release("rollback")
        finally:
            leave.set()
        assert set.union(*(asked.result() for asked in asking)) <= {FIRST, SECOND}


def test_a_version_that_cannot_be_loaded_leaves_server_and_file_as_they_were(running, release, config, red):
    base, before = config.parent / "models", config.read_text()
    (base / "2" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(ValueError, match="version 2 cannot be served"):
        release("promote", "--version=2")
    assert running.answer(red) == running.answer(red, name="neighbour") == FIRST
    assert config.read_text() == before
    assert sorted(path.name for path in config.parent.iterdir()) == ["models", "models.config"]


def test_a_version_that_is_not_there_is_named(release, config):
    before = config.read_text()
    with pytest.raises(ValueError, match=r"version 7 of alexnet is not there after 0\.3 s"):
        release("promote", "--version=7", "--timeout_s=0.3")
    assert config.read_text() == before


def test_a_file_that_is_not_what_the_server_has_is_refused(running, release, config):
    release("promote", "--version=2")
    config.write_text(config.read_text().replace('"previous"', '"older"'))
    with pytest.raises(ValueError, match="says older 1, stable 2, the server says previous 1, stable 2"):
        release("rollback")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rollback",), "no version is previous; found no labels"),
        (("promote",), "no version is canary; expected --version=N"),
        (("promote", "--label=canary"), "expected --version=N"),
        (("promote", "--version=2", "--model_name=resnet"), "no model 'resnet' in it"),
        (("promte",), r"expected one of status, promote, rollback.*promte"),
        (("promote", "--version=2", "--model_config_file="), "needs --model_config_file"),
    ],
)
def test_what_cannot_be_done_is_named(release, arguments, message):
    with pytest.raises(ValueError, match=message):
        release(*arguments)


def test_a_server_that_does_not_answer_is_named(command, config):
    address = f"127.0.0.1:{backends.free_port()}"
    with pytest.raises(ValueError, match=f"server={address}: UNAVAILABLE"):
        command(release_module, "status", f"--server={address}")


def test_of_two_at_once_one_is_refused(config):
    with release_module.edited(config), pytest.raises(ValueError, match="another release is under way"):
        release_module.edited(config).__enter__()


def test_a_link_to_the_file_stays_a_link(config, tmp_path):
    link = tmp_path / "link.config"
    link.symlink_to(config)
    with release_module.edited(link) as found:
        found.model_config_list.config[0].version_labels["stable"] = 1
    assert link.is_symlink()
    assert stored(config) == {"stable": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(config):
    config.parent.chmod(0o500)
    try:
        with pytest.raises(ValueError, match="its folder cannot be written"), release_module.edited(config):
            pass
    finally:
        config.parent.chmod(0o700)


def test_promoting_keeps_the_version_before_and_labels_of_ones_own():
    labels = {"stable": 3, "previous": 2, "canary": 4, "berlin": 1}
    assert promoted(labels, {1, 2, 3, 4}, "stable", None) == {"stable": 4, "previous": 3, "berlin": 1}
    assert promoted(labels, {1, 2, 3, 4}, "stable", 5) == {"stable": 5, "previous": 3, "canary": 4, "berlin": 1}
    assert promoted(labels, {1, 2, 3, 4}, "canary", 5) == labels | {"canary": 5}
    with pytest.raises(ValueError, match="3 is stable already"):
        promoted(labels, {3}, "stable", 3)


def test_rolling_back_withdraws_the_stable_version_and_only_that():
    labels = {"stable": 3, "previous": 2, "canary": 3, "berlin": 3}
    assert rolled_back(labels, "stable") == {"stable": 2, "berlin": 3}
    assert rolled_back(labels | {"canary": 4}, "stable") == {"stable": 2, "canary": 4, "berlin": 3}
    assert rolled_back(labels, "canary") == {"stable": 3, "previous": 2, "berlin": 3}
