"""Writes docs/flags.md: the flags of every command, read from the commands themselves.

python docs/flag_tables.py            # write the page
python docs/flag_tables.py --check    # exit code 1 if the page differs from the code
"""

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from keras_alexnet.training.flags import flag_table_markdown, markdown_cell

PAGE = Path(__file__).with_name("flags.md")

# `python -m NAME` -> the module that has its `define_flags`.
COMMANDS = {
    "pipelines.prepare": "pipelines.prepare",
    "pipelines.inspect": "pipelines.inspect",
    "pipelines.service": "pipelines.service",
    "keras_alexnet.train": "keras_alexnet.train",
    "keras_alexnet.evaluate": "keras_alexnet.evaluate",
    "keras_alexnet.predict": "keras_alexnet.predict",
    "keras_alexnet.export": "keras_alexnet.export",
    "keras_alexnet.convert": "keras_alexnet.convert",
    "keras_alexnet.describe": "keras_alexnet.describe",
    "keras_alexnet.visualize": "keras_alexnet.visualize.__main__",
    "keras_alexnet.compare": "keras_alexnet.compare",
    "keras_alexnet.experiments": "keras_alexnet.experiments.__main__",
    "keras_alexnet.demo": "keras_alexnet.demo.__main__",
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
    """The flags of one command: a heading and a table, or for the train command a table per group."""
    text = flag_table_markdown() if name == "keras_alexnet.train" else table(defined_flags(module))
    return f"## {name}\n\n{text}"


def defined_flags(module: str) -> list[flags.Flag]:
    """The flags that a command module defines, in its order; they are undefined again afterwards."""
    command = importlib.import_module(module)
    before = set(flags.FLAGS)
    command.define_flags()
    try:
        return [flags.FLAGS[name] for name in flags.FLAGS if name not in before]
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)


def table(members: Sequence[flags.Flag]) -> str:
    """A Markdown table of flags."""
    if not members:
        return "No flags.\n"
    rows = [f"| `--{flag.name}` | {values(flag)} | {default(flag)} | {meaning(flag)} |" for flag in members]
    return "\n".join(["| flag | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def values(flag: flags.Flag) -> str:
    """What a flag accepts, in a few words."""
    if choices := getattr(flag.parser, "enum_values", None):
        return ", ".join(f"`{choice}`" for choice in choices)
    if flag.boolean:
        return "true, false"
    return markdown_cell(flag.parser.syntactic_help or flag.flag_type()).removeprefix("a ").removeprefix("an ")


def default(flag: flags.Flag) -> str:
    """The default as it would be typed."""
    if flag.default is None:
        return ""
    text = flag.default_as_str.strip("'")
    return f"`{text}`" if text else ""


def meaning(flag: flags.Flag) -> str:
    """The help text, without the choices that absl puts in front of it."""
    return markdown_cell(re.sub(r"^<[^>]*>: ", "", flag.help))


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
