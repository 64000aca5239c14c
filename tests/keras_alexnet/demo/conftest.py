import json

import pytest

from keras_alexnet import load_network, predict_images
from keras_alexnet.demo.explanation import Explanation


@pytest.fixture(scope="session")
def explanation(trained, photographs, tmp_path_factory) -> Explanation:
    """Of the tiny network, with the features of the training photographs."""
    path = tmp_path_factory.mktemp("features") / "features.jsonl"
    files = [str(file) for file in sorted((photographs / "train").glob("*/*"))]
    with path.open("w") as file:
        for row in predict_images(load_network(str(trained)), files, crops="center", features=True):
            print(json.dumps({"path": row.path, "features": row.features.tolist()}), file=file)
    return Explanation(str(trained), str(path))
