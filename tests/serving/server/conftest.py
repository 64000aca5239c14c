import shutil
from pathlib import Path

import pytest


@pytest.fixture
def base(tmp_path: Path, model_base: Path) -> Path:
    """A base folder of the test's own, with version 1."""
    shutil.copytree(model_base / "1", tmp_path / "models" / "1")
    return tmp_path / "models"
