import re
import shutil
from pathlib import Path

import keras
import numpy as np
from PIL import Image

README = Path(__file__).parent.parent / "README.md"


def test_model_fit_in_ten_lines_runs_as_printed(tmp_path, monkeypatch):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(program.strip().splitlines()) <= 12
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, color in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            (tmp_path / "photographs" / split / name).mkdir(parents=True)
            for number in range(4):
                pixels = np.clip(random.normal(color, 30, (230, 260, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photographs" / split / name / f"{number}.jpg")
    shutil.copy(tmp_path / "photographs" / "val" / "red" / "0.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    again = keras.models.load_model("model.keras")
    assert again.count_params() == names["model"].count_params()
