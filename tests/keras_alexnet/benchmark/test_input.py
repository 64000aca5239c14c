import io

import numpy as np
import pytest
from PIL import Image

from keras_alexnet.benchmark import input as benchmark_input
from keras_alexnet.benchmark.report import Report

pytestmark = pytest.mark.medium


def test_synthetic_images_are_as_large_as_photographs_when_encoded():
    for seed in range(3):
        image = benchmark_input.synthetic_image(seed)
        assert (image.shape, image.dtype) == ((256, 256, 3), np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "JPEG", quality=95)
        assert 25_000 < encoded.tell() < 36_000


@pytest.mark.slow
def test_every_contender_delivers_and_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_input, "_IMAGES", 12)
    monkeypatch.setattr(benchmark_input, "_IMAGES_A_TURN", 10)
    benchmark_input.report_input(None, 5, 1, Report(), peers=True)
    printed = capsys.readouterr().out
    for contender in (
        "images dropped",
        "images batched",
        "ours, for the train",
        "ours, for model.fit",
        "tutorials:",
        "image_dataset",
    ):
        assert printed.count(contender) == 1


def test_only_a_prepared_folder_can_be_measured(tmp_path):
    path = tmp_path / "train" / "a" / "0.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(ValueError, match=r"^dataset=folder:.*: expected a directory written by pipelines\.prepare$"):
        benchmark_input.report_input(f"folder:{tmp_path}", 1, 1, Report())
