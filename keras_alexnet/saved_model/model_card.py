"""The model card as Markdown, with the metadata header that the Hugging Face Hub reads.

References:
  - Mitchell et al.: Model Cards for Model Reporting, FAT* 2019, arXiv:1810.03993.
  - https://huggingface.co/docs/hub/model-cards
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

# Files of weights that others published: beginning of the name -> licence. Caffe's model zoo: readme.md of each model;
# torchvision: its repository.
_LICENCES = {
    "bvlc_": "unrestricted use, as the Berkeley Vision and Learning Center states for its models",
    "alexnet-owt": "BSD-3-Clause, torchvision; trained on ImageNet, whose terms allow non-commercial research",
}
# Of the training record, but shown elsewhere in the card, or too long.
_NOT_IN_RECIPE = ("dataset", "data_dir", "error_rates", "statistics", "init_from", "weights", "label_names")
_PATHS_IN_RECIPE = ("class_weights",)
_CROPS = {"ten": "ten crops", "nine": "nine crops", "center": "centre crop"}
_MOST_NAMED = 20
_AVERAGE_NOT_MEASURED = """\
Not measured; those of the single networks are above. `python -m keras_alexnet.evaluate` with all of their `--model`
before the export, in the same directory, adds it."""
_NUMBERS = ("images", "top1_error", "top5_error", "loss")


def model_card_markdown(card: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Formats a model card.

    Args:
      card: as `files.model_card` returns it.
      class_names: one per class.

    Returns:
      Markdown. Data and weights are named without their directories, so that the card can be published.
    """
    training, networks = card["training"], card.get("networks", ())
    trainings = [each["training"] for each in networks] or [training]
    rates = [row for row in training.get("error_rates", ()) if _is_complete(row)]
    sections = (
        ("", _introduction(card, class_names)),
        *([("Networks", _networks(networks))] if networks else []),
        ("Data", _of_all(_data, trainings) + f"\n\n{_classes(class_names)}"),
        ("Error", _AVERAGE_NOT_MEASURED if networks and not rates else _error(rates)),
        ("Calibration", _calibration(rates)),
        ("Recipe", _recipe(training)),
        ("Initial weights and licence", _of_all(_weights, trainings)),
        ("Limits", _limits(len(class_names), rates)),
        ("How to choose a rejection threshold", _THRESHOLD),
    )
    text = "\n\n".join(f"## {heading}\n\n{body}" if heading else body for heading, body in sections)
    return f"{_header(card, rates, len(class_names))}\n{text}\n"


def _header(card: Mapping[str, Any], rates: Sequence[Mapping[str, Any]], classes: int) -> str:
    # JSON strings are YAML strings.
    # No library_name: "keras" would be a .keras file, and no library of the Hub loads a SavedModel.
    lines = ["---", "license: unknown  # to be set by whoever publishes the weights; see below"]
    lines += ["pipeline_tag: image-classification", "tags:"]
    lines += [f"- {json.dumps(tag)}" for tag in ("image-classification", "tensorflow", "saved-model", card["model"])]
    lines += ["metrics:", "- accuracy"]
    if rates:
        lines += ["model-index:", f"- name: {json.dumps(card['model'])}", "  results:"]
    for row in rates:
        lines += [
            "  - task: {type: image-classification}",
            f"    dataset: {{name: {json.dumps(_name(row['dataset']))}, type: image-folder, "
            f"split: {json.dumps(row['split'])}}}",
            "    metrics:",
            *(
                f"    - {{type: accuracy, name: {json.dumps(f'top-{k} accuracy, {_crops(row)}')}, "
                f"value: {1 - row[f'top{k}_error']:.4f}}}"
                # Among five classes or fewer none is outside of the best five.
                for k in ((1, 5) if classes > 5 else (1,))
            ),
        ]
    return "\n".join([*lines, "---", ""])


def _introduction(card: Mapping[str, Any], class_names: Sequence[str]) -> str:
    served, size = card["served"], card["input_size"]
    return (
        f"# {card['model']}\n\n"
        f"A classifier of photographs into {len(class_names)} class{'es' * (len(class_names) != 1)}: "
        f"{card['parameters']:,} parameters, crops of {size} x {size} pixels. This is a SavedModel for TensorFlow "
        "Serving. It accepts JPEG or PNG files as bytes, and decodes, resizes and crops them itself.\n\n"
        "| signature | input | output |\n|---|---|---|\n"
        "| `serving_default` | `image_bytes` | probabilities, averaged over ten crops; "
        f"the best {served['top_k']} classes |\n"
        "| `center_crop` | `image_bytes` | the same from one crop: ten times cheaper |\n"
        "| `images` | `images`, uint8 | the same for resized images |\n"
        "| `features` | `image_bytes` | the input of the classifier layer |\n\n"
        f"Precision {served['precision']}, resize policy `{served['resize']}`. Exported {card['exported']} by "
        + ", ".join(f"{name} {version}" for name, version in card["versions"].items())
        + (f", revision {card['git_revision']}" if card["git_revision"] else "")
        + ". `assets.extra/model_card.json` has the same facts for programs."
    )


def _networks(cards: Sequence[Mapping[str, Any]]) -> str:
    """What is averaged: a row for each network, with the settings in which they differ."""
    recipes = [dict(_settings(card["training"])) for card in cards]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    differing = [name for name in names if len({recipe.get(name) for recipe in recipes}) > 1]
    rows = []
    for card, recipe in zip(cards, recipes, strict=True):
        rates = [row for row in card["training"].get("error_rates", ()) if _is_complete(row)]
        errors = "; ".join(
            f"{row['top1_error']:.2%} ({_name(row['dataset'])} {row['split']}, {_crops(row)})" for row in rates
        )
        settings = ", ".join(f"{name} {recipe[name]}" for name in differing if name in recipe)
        parameters = f"{card['parameters']:,}"
        rows.append(
            (card["model"], f"`{_name(card['source'])}`", parameters, settings or "none", errors or "not measured")
        )
    table = _table(("network", "from", "parameters", "settings that differ", "top-1 error"), rows)
    return f"The probabilities are the means of those of {len(cards)} networks.\n\n{table}"


def _of_all(describe: Callable[[Mapping[str, Any]], str], trainings: Sequence[Mapping[str, Any]]) -> str:
    """What is said about the training of each network, once."""
    return "\n\n".join(dict.fromkeys(map(describe, trainings)))


def _data(training: Mapping[str, Any]) -> str:
    if training.get("dataset"):
        images = training.get("statistics", {}).get("images")
        number = f", {images:,} training images" if images else ""
        text = f"Trained on `{_name(training['dataset'])}`{number}."
        if training.get("bad_images_left_out"):
            text += f" {training['bad_images_left_out']} images that cannot be decoded were left out."
    else:
        text = "The data of the training are not known to this card."
    return text


def _classes(class_names: Sequence[str]) -> str:
    named = ", ".join(class_names[:_MOST_NAMED])
    more = f", and {len(class_names) - _MOST_NAMED} more" if len(class_names) > _MOST_NAMED else ""
    return f"Classes (`assets/class_names.txt`): {named}{more}."


def _error(rates: Sequence[Mapping[str, Any]]) -> str:
    if not rates:
        return "Not measured. `python -m keras_alexnet.evaluate --model=<run directory>` before the export adds it."
    rows = [
        (
            _name(row["dataset"]),
            row["split"],
            row["crops"],
            f"{row['images']:,}",
            f"{row['top1_error']:.2%} ± {_standard_error(row):.2%}",
            f"{row['top5_error']:.2%}",
            f"{row['loss']:.4f}",
        )
        for row in rates
    ]
    headings = ("dataset", "split", "crops", "images", "top-1 error", "top-5 error", "cross-entropy")
    return f"{_table(headings, rows)}\n\n± is one standard error, from the number of images."


def _standard_error(row: Mapping[str, Any]) -> float:
    return math.sqrt(row["top1_error"] * (1 - row["top1_error"]) / max(row["images"], 1))


def _calibration(rates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (_name(row["dataset"]), row["split"], row["crops"], f"{row['calibration_error']:.2%}")
        for row in rates
        if _is_number(row.get("calibration_error"))
    ]
    if not rows:
        return "Not measured. Do not read the probabilities as frequencies."
    table = _table(("dataset", "split", "crops", "calibration error"), rows)
    return f"{table}\n\nMean difference between confidence and accuracy, over 15 bins of confidence."


def _recipe(training: Mapping[str, Any]) -> str:
    rows = [(f"`{name}`", value) for name, value in _settings(training)]
    if not rows:
        return "Not known to this card."
    return _table(("setting", "value"), rows)


def _settings(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the settings that fit a table."""
    return [
        (name, _name(value) if name in _PATHS_IN_RECIPE else _text(value))
        for name, value in training.items()
        if name not in _NOT_IN_RECIPE and value not in (None, "", [], (), {})
    ]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        more = ", ..." if len(value) > _MOST_NAMED else ""
        return ", ".join(f"{each:.4g}" if isinstance(each, float) else f"{each}" for each in value[:_MOST_NAMED]) + more
    return f"{value}"


def _weights(training: Mapping[str, Any]) -> str:
    source = training.get("init_from") or training.get("weights")
    if not source and not training.get("dataset"):
        return "Not known to this card."
    if not source:
        return "Trained from random weights. Their licence is up to whoever trained them, within the terms of the data."
    name = _name(source)
    licence = next((text for start, text in _LICENCES.items() if name.startswith(start)), None)
    origin = "Fine-tuned from" if training.get("init_from") else "Weights of"
    return f"{origin} `{name}`. Licence: {licence or 'unknown to this card; ask its publisher'}."


def _limits(classes: int, rates: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"Every image gets probabilities of the {classes} class{'es' * (classes != 1)} that sum to 1, also one that "
        "shows none of them: use a threshold.",
        "The errors hold for images like those of the table above. Expect more on other cameras and subjects.",
        "Crops cover the middle of an image; what lies at the ends of its longer side is not seen.",
        "Not examined: fairness between groups of people, and images made to deceive the network.",
    ]
    if not rates:
        lines.insert(0, "The error has not been measured.")
    return "\n".join(f"- {line}" for line in lines)


_THRESHOLD = """\
Below a threshold on the highest probability the prediction counts as "unknown". Choose it on images that were not
trained on, with the signature and precision that will serve:

1. Collect the highest probability of each image, and whether its class is right.
2. For each threshold compute the coverage, the share of images that reach it, and the error among those.
3. Take the lowest threshold whose error is acceptable. State its coverage with it.
4. If images of none of the classes will come, add such images and count each accepted one as an error.
5. Choose again for every new version: probabilities of another training run are not comparable.

```python
order = np.argsort(-confidence)            # confidence: highest probabilities [N]; right: bool [N]
error = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
accepted = np.flatnonzero(error <= 0.02)   # at most 2 % errors
threshold = confidence[order[accepted[-1]]] if len(accepted) else np.inf
```"""


def _crops(row: Mapping[str, Any]) -> str:
    return _CROPS.get(str(row["crops"]), str(row["crops"]))


def _is_complete(row: Mapping[str, Any]) -> bool:
    return {"dataset", "split", "crops"} <= row.keys() and all(_is_number(row.get(name)) for name in _NUMBERS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _name(path: Any) -> str:
    """The last part of a path; a dataset's name is one. Directories say something about the machine."""
    return PureWindowsPath(Path(str(path)).name).name or str(path)
