import io

import numpy as np
import pytest
from PIL import Image

from keras_alexnet.benchmark import input as benchmark_input

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
    monkeypatch.setattr(benchmark_input, "_SECONDS_A_TURN", 0.01)
    benchmark_input.report_input(None, batch=5, repeats=1)
    printed = capsys.readouterr().out
    for contender in ("images dropped", "images batched", "ours, for the train", "ours, for model.fit", "tutorials:"):
        assert printed.count(contender) == 1


def test_turns_alternate_and_the_first_round_does_not_count(monkeypatch):
    turns = []

    def turn(dataset, batch):
        turns.append(dataset)
        return benchmark_input.Rate(len(turns), 1.0)

    monkeypatch.setattr(benchmark_input, "_turn", turn)
    rates = benchmark_input.images_per_second({"first": "a", "second": "b"}, batch=1, repeats=3)
    assert "".join(turns) == "ab" * 4
    assert rates["first"].total == 5
    assert rates["second"].total == 6


def test_only_a_prepared_folder_can_be_measured(tmp_path):
    path = tmp_path / "train" / "a" / "0.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(ValueError, match=r"^dataset=folder:.*: expected a directory written by pipelines\.prepare$"):
        benchmark_input.report_input(f"folder:{tmp_path}", batch=1, repeats=1)
