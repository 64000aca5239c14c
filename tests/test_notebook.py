"""The lesson in examples/ runs from top to bottom."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook is NOT run: nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="the notebook is NOT run: nbclient is not installed")
pytest.importorskip("ipykernel", reason="the notebook is NOT run: ipykernel is not installed")

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "alexnet_lesson.ipynb"


def test_every_section_ends_with_an_exercise():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert text.count("## ") == text.count("**Exercise.**") == 12


def test_no_output_is_committed():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.slow
@pytest.mark.subprocess
def test_the_notebook_runs(tmp_path, monkeypatch):
    # Inherited by the kernel, which runs in another directory.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    before = sum(os.times()[2:4])
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "\n".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    )
    assert "neurons 659,272; parameters 60,965,224, 96.2% in fc layers" in printed
    assert "computed above:" in printed
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 7
    print(f"{sum(os.times()[2:4]) - before:.0f} s of CPU time")
