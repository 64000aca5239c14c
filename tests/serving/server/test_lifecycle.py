"""Changes of version of the embedded server, under load and with versions that cannot be loaded, and its end."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.client import Client
from serving.server import ModelServer
from serving.server.config_files import single_model
from serving.server.servable import Servable
from serving.server.version_policy import Versions, versions_on_disk
from tests.helpers.backends import WAIT_S, wait_until


def current(server: ModelServer) -> Servable:
    return server.models.versions["alexnet"].current


def followed(base: Path) -> Versions:
    """The versions under `base`, looked through once."""
    (config,) = single_model("alexnet", base).model_config_list.config
    versions = Versions(config, Servable)
    versions.refresh()
    return versions


class Gate:
    """Holds requests on their way into a servable."""

    def __init__(self, servable, monkeypatch: pytest.MonkeyPatch):
        self.entered, self.opened = threading.Event(), threading.Event()
        predict = servable.predict

        def gated(request):
            self.entered.set()
            assert self.opened.wait(WAIT_S)
            return predict(request)

        monkeypatch.setattr(servable, "predict", gated)


def test_versions_are_the_numbers_with_a_model(tmp_path):
    for name in ("1", "9", "10", "011", "writing-12", "1e3", "²", "12"):
        (tmp_path / name).mkdir()
        if name != "12":
            (tmp_path / name / "saved_model.pb").touch()
    assert versions_on_disk(tmp_path) == {number: tmp_path / name for number, name in [
        (1, "1"), (9, "9"), (10, "10"), (11, "011"),
    ]}  # fmt: skip


def test_a_version_published_under_load_takes_over_without_a_failure(base, export, photograph):
    image = photograph((200, 40, 40))
    with ModelServer("alexnet", base) as server, Client(server.address) as client:
        publisher = threading.Thread(target=export, args=(base, 2))
        publisher.start()
        answers: list[str] = []

        def ask_until_the_answer_changes() -> bool:
            answers.append(client.classify([image], top_k=1)[0].labels[0])
            return answers[-1] != answers[0]

        wait_until(ask_until_the_answer_changes)
        publisher.join()
    assert answers[0] == "red"
    assert answers[-1] == "other"


def test_a_request_under_way_ends_on_the_version_it_began_on(base, export, photograph, monkeypatch):
    with ModelServer("alexnet", base) as server, Client(server.address) as client, ThreadPoolExecutor() as pool:
        image = photograph((200, 40, 40))
        before = client.classify([image])
        gate = Gate(current(server), monkeypatch)
        pending = pool.submit(client.classify, [image])
        assert gate.entered.wait(WAIT_S)
        export(base, 2)
        wait_until(lambda: current(server).version == 2)
        after = client.classify([image])
        gate.opened.set()
        assert pending.result(WAIT_S) == before != after


@pytest.mark.parametrize("write", [lambda path: path.write_bytes(b"half"), os.mkfifo])
def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_is_logged_once(base, caplog, write):
    versions = followed(base)
    (base / "2").mkdir()
    write(base / "2" / "saved_model.pb")
    caplog.clear()
    versions.refresh()
    versions.refresh()
    assert versions.current.version == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"alexnet: still serving version 1: cannot load {base / '2'}: ")
    assert "\n" not in line


def test_a_version_that_was_incomplete_is_served_once_its_files_have_arrived(base, model_base):
    versions = followed(base)
    (base / "2").mkdir()
    shutil.copy(base / "1" / "saved_model.pb", base / "2")
    versions.refresh()
    assert versions.current.version == 1
    shutil.copytree(base / "1" / "variables", base / "2" / "variables")
    versions.refresh()
    assert versions.current.version == 2


def test_a_folder_without_news_is_not_loaded_again(base):
    versions = followed(base)
    loaded = versions.current
    versions.refresh()
    assert versions.current is loaded


def test_removing_the_newest_version_brings_the_one_before_back(base, export):
    export(base, 2)
    versions = followed(base)
    shutil.rmtree(base / "2")
    versions.refresh()
    assert versions.current.version == 1


def test_the_last_version_stays_when_its_folder_is_removed(base):
    versions = followed(base)
    shutil.rmtree(base / "1")
    versions.refresh()
    assert versions.current.version == 1


def test_leaving_waits_for_requests_under_way(base, photograph, monkeypatch):
    with ThreadPoolExecutor() as pool:
        server = ModelServer("alexnet", base)
        server.__enter__()
        with Client(server.address) as client:
            gate = Gate(current(server), monkeypatch)
            pending = pool.submit(client.classify, [photograph((200, 40, 40))])
            assert gate.entered.wait(WAIT_S)
            leaving = pool.submit(server.__exit__, None, None, None)
            time.sleep(0.1)
            assert not leaving.done()
            gate.opened.set()
            assert pending.result(WAIT_S)[0].valid
            leaving.result(WAIT_S)


def make_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link_to_device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def link_outside(path: Path) -> None:
    outside = path.parents[3] / "outside"
    path.rename(outside) if path.exists() else outside.touch()
    path.symlink_to(outside)


@pytest.mark.parametrize("change", [make_pipe, link_to_device, link_outside])
@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests"]
)
def test_a_version_with_anything_but_regular_files_below_the_base_path_is_refused(base, name, change):
    versions = followed(base)
    shutil.copytree(base / "1", base / "2")
    (base / "2" / name).parent.mkdir(exist_ok=True)
    change(base / "2" / name)
    versions.refresh()
    assert versions.current.version == 1
    (status,) = [status for status in versions.status() if status.version == 2]
    assert "expected a regular file" in status.status.error_message


def test_links_below_the_base_path_are_followed(base):
    (base / "store").mkdir()
    (base / "1").rename(base / "store" / "1")
    (base / "1").symlink_to(base / "store" / "1")
    assert followed(base).current.version == 1
