"""Writes docs/flags.md: the flags of every command, read from the commands themselves.

python docs/flag_tables.py            # write the page
python docs/flag_tables.py --check    # exit code 1 if the page differs from the code
"""

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from absl import flags

from keras_alexnet.training.config import TrainingConfig

PAGE = Path(__file__).with_name("flags.md")

# `python -m NAME` -> the module that has its `define_flags`.
COMMANDS = {
    "pipelines.prepare": "pipelines.prepare",
    "pipelines.inspect": "pipelines.inspect",
    "pipelines.service": "pipelines.service",
    "keras_alexnet.train": "keras_alexnet.train",
    "keras_alexnet.evaluate": "keras_alexnet.evaluate",
    "keras_alexnet.export": "keras_alexnet.export",
    "keras_alexnet.convert": "keras_alexnet.convert",
    "keras_alexnet.describe": "keras_alexnet.describe",
    "keras_alexnet.benchmark": "keras_alexnet.benchmark.__main__",
    "keras_alexnet.quickstart": "keras_alexnet.quickstart",
    "serving.server": "serving.server.__main__",
    "serving.client": "serving.client.__main__",
}

INTRODUCTION = """# Flags

Generated from the commands by `python docs/flag_tables.py`. Every command also has `--help` and `--flagfile=FILE` (one
flag per line; later flags override earlier ones). A flagfile of the package is found by its name, such as
`--flagfile=photos.flags`.
"""


def page() -> str:
    """The text of docs/flags.md."""
    return "\n".join([INTRODUCTION, *(section(name, module) for name, module in COMMANDS.items())])


def section(name: str, module: str) -> str:
    """The flags of one command: a heading and a table, or a table per group."""
    defined = defined_flags(importlib.import_module(module))
    groups: dict[str, list[flags.Flag]] = {}
    for flag in defined:
        groups.setdefault(training_group(flag) if name == "keras_alexnet.train" else "", []).append(flag)
    parts = [f"## {name}\n"]
    for group, members in groups.items():
        parts += [f"### {group.capitalize()}\n"] if group else []
        parts += [table(members)]
    return "\n".join(parts)


def defined_flags(module: object) -> list[flags.Flag]:
    """The flags that a command module defines, in its order; they are undefined again afterwards."""
    before = set(flags.FLAGS)
    module.define_flags()
    try:
        # A flag can be there under several names: once is enough.
        added = {id(flags.FLAGS[name]): flags.FLAGS[name] for name in flags.FLAGS if name not in before}
        return list(added.values())
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)


def training_group(flag: flags.Flag) -> str:
    """The group of a field of TrainingConfig, in which `train --help` shows it."""
    fields = {field.name: field for field in dataclasses.fields(TrainingConfig)}
    return fields[flag.name].metadata.get("group", "") if flag.name in fields else ""


def table(members: Iterable[flags.Flag]) -> str:
    """A Markdown table of flags."""
    rows = [f"| `--{flag.name}` | {values(flag)} | {default(flag)} | {escaped(flag.help)} |" for flag in members]
    return "\n".join(["| flag | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def values(flag: flags.Flag) -> str:
    """What a flag accepts, in a few words."""
    if choices := getattr(flag.parser, "enum_values", None):
        return ", ".join(f"`{choice}`" for choice in choices)
    if flag.boolean:
        return "true, false"
    return escaped(flag.parser.syntactic_help or flag.flag_type()).removeprefix("a ").removeprefix("an ")


def default(flag: flags.Flag) -> str:
    """The default as it would be typed."""
    if flag.default is None:
        return ""
    text = flag.default_as_str
    return f"`{text.strip(chr(39))}`" if text else ""


def escaped(text: str) -> str:
    """`text` in one line, with the characters that Markdown or HTML would interpret escaped."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", " ".join(text.split()))


def main() -> int:
    """Writes the page, or compares it."""
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != text:
            print(f"{PAGE.name} differs from the commands: run python docs/flag_tables.py", file=sys.stderr)
        return int(current != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
