"""Numbers out of range are refused in one line by every command."""

import importlib
from pathlib import Path

import pytest
from absl import flags, logging  # noqa: F401 (defines flags of its own on import)

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("keras_alexnet", "pipelines", "serving")
    for path in (ROOT / package).rglob("*.py")
    if "\ndef command(" in path.read_text("utf-8")
)


def numeric_parsers(module: str) -> dict[str, flags.ArgumentParser]:
    before = set(flags.FLAGS)
    importlib.import_module(module).define_flags()
    own = set(flags.FLAGS) - before
    parsers = {name: flags.FLAGS[name].parser for name in own}
    for name in own:
        delattr(flags.FLAGS, name)
    return {n: p for n, p in parsers.items() if isinstance(p, flags.IntegerParser | flags.FloatParser)}


# The train command's numbers are checked by TrainingConfig (tests/keras_alexnet/training/test_config.py).
@pytest.mark.parametrize("module", [name for name in COMMANDS if name != "keras_alexnet.train"])
def test_every_numeric_flag_has_bounds(module):
    for name, parser in numeric_parsers(module).items():
        for value in (f"-{10**20}", str(10**20), *(["inf", "-inf"] if isinstance(parser, flags.FloatParser) else [])):
            with pytest.raises(ValueError):
                pytest.fail(f"--{name}={parser.parse(value)} is accepted")


def test_there_are_commands():
    assert {"keras_alexnet.export", "pipelines.prepare", "serving.client.__main__"} <= set(COMMANDS)
