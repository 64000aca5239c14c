"""Inception modules as text, and their builder.

A module is a tuple of branches, whose outputs are concatenated. A branch is a sequence of words:

- `3x3-96`: a convolution of 3 rows and 3 columns with 96 filters; `3x3-96/2` with stride 2. "Same" padding, but "valid"
  with a stride or a final `v`.
- `max`, `average`: 3 x 3 pooling with stride 1 and "same" padding; `max/2`: stride 2, "valid".
- `(1x3-256|3x1-256)`: branches that read the same input, at the end of a branch.
"""

import re
from collections.abc import Callable
from typing import Any

# (maps, filters, kernel_size, strides, padding, name=...) -> maps: a convolution with all that belongs to it.
Unit = Callable[..., Any]

_WORD = re.compile(r"(?P<rows>\d+)x(?P<columns>\d+)-(?P<filters>\d+)(?P<stride>/2)?(?P<valid>v)?")
_FORK = re.compile(r"(?P<before>.*?)\s*\((?P<ends>.*)\)")


def module(maps: Any, branches: tuple[str, ...], unit: Unit, scale: Callable[[int], int], name: str) -> Any:
    """One module.

    Args:
      maps: its input.
      branches: see above.
      unit: makes a convolution, for example with batch normalization.
      scale: from the number of filters in the text to the number in the network.
      name: prefix of the layers' names.
    """
    import keras

    outputs = []
    for index, branch in enumerate(branches, 1):
        outputs += _branch(maps, branch, unit, scale, f"{name}_branch{index}")
    return keras.layers.Concatenate(name=f"{name}_concat")(outputs)


def sequence(maps: Any, words: str, unit: Unit, scale: Callable[[int], int], name: str) -> Any:
    """The words of a branch, one after the other."""
    for index, word in enumerate(words.split(), 1):
        maps = _word(maps, word, unit, scale, f"{name}_{index}")
    return maps


def _branch(maps: Any, branch: str, unit: Unit, scale: Callable[[int], int], name: str) -> list:
    fork = _FORK.fullmatch(branch)
    if fork is None:
        return [sequence(maps, branch, unit, scale, name)]
    maps = sequence(maps, fork["before"], unit, scale, name)
    return [
        sequence(maps, end, unit, scale, f"{name}_end{index}") for index, end in enumerate(fork["ends"].split("|"), 1)
    ]


def _word(maps: Any, word: str, unit: Unit, scale: Callable[[int], int], name: str) -> Any:
    import keras

    if word == "average":
        # "Same" leaves the zeros around the maps out of the mean, as TensorFlow-Slim does.
        return keras.layers.AveragePooling2D(3, 1, "same", name=f"{name}_average")(maps)
    if word.startswith("max"):
        strides, padding = (2, "valid") if word == "max/2" else (1, "same")
        return keras.layers.MaxPooling2D(3, strides, padding, name=f"{name}_max")(maps)
    parts = _WORD.fullmatch(word)
    assert parts is not None, word
    padding = "valid" if parts["stride"] or parts["valid"] else "same"
    kernel_size = int(parts["rows"]), int(parts["columns"])
    filters = scale(int(parts["filters"]))
    return unit(maps, filters, kernel_size, 2 if parts["stride"] else 1, padding, name=f"{name}_conv")
