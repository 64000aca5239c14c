import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.ten_crop import crop_probabilities
from pipelines.images import crops, decode
from serving.client import Client
from serving.server import ModelServer
from tests.helpers.commands import run_command


def run(*arguments) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def here(*arguments) -> str:
    """As `run`, in this process, which saves the seconds that TensorFlow needs to start."""
    finished = run_command(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.subprocess
def test_photographs_in_a_named_answer_over_grpc_out(photographs, tmp_path):
    prepared, model_dir, base = tmp_path / "prepared", tmp_path / "model", tmp_path / "export"
    (tmp_path / "names").write_text("blue deep sea\ngreen\tmeadow, grass\nred red\n")
    assert "prepared 24 train, 9 validation images" in here(
        "pipelines.prepare",
        f"--dataset=folder:{photographs}",
        f"--output_dir={prepared}",
        f"--label_names_file={tmp_path / 'names'}",
    )
    recipe = (
        "--width=0.0625",
        "--init=he",
        "--batch_size=8",
        "--epochs=2",
        "--schedule=staged",
        "--steps_per_execution=2",
    )
    trained = run("keras_alexnet.train", f"--dataset={prepared}", f"--model_dir={model_dir}", *recipe)
    last = trained.splitlines()[-1]
    assert last.startswith("done after 6 steps: val_top1_error") and str(model_dir) in last
    evaluated = here("keras_alexnet.evaluate", f"--model_dir={model_dir}")
    assert "center 9 images" in evaluated and "ten    9 images" in evaluated
    header, center, ten = (model_dir / "results.csv").read_text().splitlines()
    assert header.startswith("time,model_dir,steps") and ",center,9,0," in center and ",ten,9,0," in ten
    here("keras_alexnet.export", f"--model_dir={model_dir}", f"--export_base={base}")

    files = sorted((photographs / "val").rglob("*.jpg"))
    model, _, _ = load_trained(model_dir)
    labels = ("blue deep sea", "green meadow, grass", "red")
    assert (base / "1" / "assets" / "labels.txt").read_text().splitlines() == list(labels)
    assert (base / "1" / "assets" / "class_names.txt").read_text().splitlines() == ["blue", "green", "red"]
    stored = tf.stack([crops.resize_image(decode.decode_rgb(file.read_bytes())) for file in files])
    expected = crop_probabilities(model, stored, "ten", from_logits=True).numpy()
    with ModelServer("alexnet", base) as server:
        with Client(server.address) as client:
            results = client.classify([file.read_bytes() for file in files])
        printed = run("serving.client", f"--server={server.address}", "--json", *files[:2])
    for result, row in zip(results, expected, strict=True):
        order = np.argsort(-row)
        assert result.valid and result.labels == tuple(labels[k] for k in order)
        np.testing.assert_allclose(result.scores, row[order], rtol=1e-4)
    records = [json.loads(line) for line in printed.splitlines()]
    assert [tuple(record["labels"]) for record in records] == [result.labels for result in results[:2]]
