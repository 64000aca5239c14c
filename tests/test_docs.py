"""The programs and command lines in the documentation name things that exist."""

import ast
import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The transcript shows what was run when it was made.
PAGES = sorted(
    {ROOT / "README.md", ROOT / "BUILD_NOTES.md", *(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "quickstart.md"}
)
OURS = ("keras_alexnet", "pipelines", "serving")

specification = importlib.util.spec_from_file_location("flag_tables", ROOT / "docs" / "flag_tables.py")
flag_tables = importlib.util.module_from_spec(specification)
specification.loader.exec_module(flag_tables)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_programs_import_names_that_exist(page):
    for program in blocks(page, "python"):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module}.{name.name}"


@cache
def flags_of(command: str) -> set[str]:
    return {flag.name for flag in flag_tables.defined_flags(flag_tables.COMMANDS[command])} | {"flagfile", "help"}


def command_lines(text: str) -> list[tuple[str, list[str]]]:
    """(module, flags) of each `python -m module --flag ...` in `text`."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"python -m ((?:keras_alexnet|pipelines|serving)[\w.]*)([^\n`|]*)", text)
    return [(module, re.findall(r"--(\w+)", rest)) for module, rest in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_use_flags_that_exist(page):
    for command, names in command_lines(page.read_text(encoding="utf-8")):
        assert command in flag_tables.COMMANDS, command
        unknown = [name for name in names if name not in flags_of(command)]
        assert not unknown, f"{command}: {unknown}"
