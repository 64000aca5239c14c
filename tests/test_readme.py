"""The README's programs run as printed, and its links lead somewhere."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.backends import embedded_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A directory with photos/train/<class>/*.jpg and photo.jpg, as the current one."""
    random = np.random.default_rng(0)
    for name, color in (("blue", (40, 40, 200)), ("red", (200, 40, 40))):
        directory = tmp_path / "photos" / "train" / name
        directory.mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(random.normal(color, 30, (260, 280, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(directory / f"{number}.jpg")
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_readme_programs_are_ten_lines():
    assert sum(bool(line.strip()) for program in PROGRAMS for line in program.splitlines()) <= 12


@pytest.mark.subprocess
def test_readme_programs_run_from_fit_to_an_answer(photos, capsys, monkeypatch):
    # Other tests have the export loaded in a process of its own; here a server loads it.
    monkeypatch.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)
    fit, query = PROGRAMS
    # Narrower than printed, to save time.
    fit = (
        fit.replace("width=0.25", "width=1/32").replace("epochs=5", "epochs=1").replace("batch_size=32", "batch_size=4")
    )
    variables: dict = {}
    exec(compile(fit, "README.md", "exec"), variables)
    assert isinstance(variables["model"], keras.Model)
    with embedded_server("--model_name=alexnet", f"--model_base_path={Path('export/alexnet').absolute()}") as server:
        exec(compile(query.replace("127.0.0.1:8500", server.address), "README.md", "exec"), {})
    labels = capsys.readouterr().out.strip().splitlines()[-1]
    assert "blue" in labels and "red" in labels


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "BUILD_NOTES.md", ROOT / "CHANGELOG.md"]
)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
