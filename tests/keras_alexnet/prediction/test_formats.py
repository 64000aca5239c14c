"""Files of predictions: what a spreadsheet, a JSON parser and pyarrow read from them."""

import csv
import json
import os

import numpy as np
import pytest

from keras_alexnet.prediction.formats import Columns, find_format
from keras_alexnet.prediction.predictor import Prediction

FEATURES = np.array([0.1, np.nan], np.float32)
PREDICTIONS = [
    Prediction("=1+1.jpg", True, "", ("@cat, tabby", "dog"), (1, 0), (float(np.float32(0.7)), 0.25), FEATURES),
    Prediction(os.fsdecode(b"\xff\x1b[31m.jpg"), False, "cut\nshort"),
]
COLUMNS = Columns(2, 2)


def joined(suffix, tmp_path):
    """Each prediction a part."""
    form = find_format(tmp_path / f"x{suffix.upper()}")
    parts = [tmp_path / f"{index}{suffix}" for index in range(2)]
    for prediction, part in zip(PREDICTIONS, parts, strict=True):
        form.write([prediction], COLUMNS, part)
    form.join(parts, COLUMNS, tmp_path / f"all{suffix}")
    return tmp_path / f"all{suffix}"


def test_csv_cells_are_text_for_a_spreadsheet(tmp_path):
    with open(joined(".csv", tmp_path), newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["path"], first["valid"], first["label_1"], first["class_1"]) == (
        "'=1+1.jpg",
        "true",
        "'@cat, tabby",
        "1",
    )
    assert first["score_1"] == "0.699999988" and np.float32(first["feature_0"]) == FEATURES[0]
    assert second["path"].isprintable() and second["reason"] == "cut\\nshort" and second["valid"] == "false"
    assert {second[name] for name in second if name not in ("path", "valid", "reason")} == {""}


def test_json_lines_are_valid_json(tmp_path):
    lines = joined(".jsonl", tmp_path).read_text("ascii").splitlines()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert list(first) == ["path", "valid", "reason", "labels", "classes", "scores", "features"]
    assert first["labels"] == ["@cat, tabby", "dog"] and first["classes"] == [1, 0]
    assert np.float32(first["scores"][0]) == np.float32(0.7) and first["features"][1] is None
    assert second["path"] == PREDICTIONS[1].path and second["features"] is None and second["labels"] == []


def test_parquet_has_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(joined(".parquet", tmp_path))
    assert [str(field.type) for field in table.schema][:3] == ["string", "bool", "string"]
    assert str(table.schema.field("features").type) == "list<element: float>"
    first, second = table.to_pylist()
    assert first["classes"] == [1, 0] and np.float32(first["features"][0]) == FEATURES[0]
    assert second["features"] is None and second["path"].isprintable() and second["labels"] == []
