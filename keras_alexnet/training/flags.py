"""The flags of `keras_alexnet.train`, their `--help` and their documentation, generated from `TrainingConfig`."""

import dataclasses
import html
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.setting import GROUPS, setting_of, type_of
from pipelines.cli import define_path
from pipelines.cli.flagfiles import expand_flagfiles

# Bounds and choices are checked by TrainingConfig, so that programs and the command report the same errors.
_DEFINE: dict[type, Callable[..., object]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    list: flags.DEFINE_list,
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag per field of `TrainingConfig` in `values`."""
    for field in dataclasses.fields(TrainingConfig):
        setting = setting_of(field)
        define: Callable[..., object] = define_path if setting.is_path else _DEFINE[type_of(field)]
        define(field.name, field.default, _description(field), flag_values=values)
        for alias in setting.aliases:
            flags.DEFINE_alias(alias, field.name, flag_values=values)


def flag_values(values: flags.FlagValues = flags.FLAGS) -> TrainingConfig:
    """The configuration that the flags give.

    Raises:
      ValueError: for a value out of range.
    """
    given: dict[str, Any] = {field.name: values[field.name].value for field in dataclasses.fields(TrainingConfig)}
    return TrainingConfig(**given)


def parse_flags(arguments: Sequence[str]) -> TrainingConfig:
    """The configuration that arguments of the train command give, which is not executed.

    Args:
      arguments: such as `--batch_size=64` and `--flagfile=photos.flags`.

    Raises:
      ValueError: one is not a flag of the train command, or its value is not accepted.

    Examples:
        >>> parse_flags(["--batch_size=64"]).batch_size
        64
    """
    values = flags.FlagValues()
    define_flags(values)
    try:
        rest = values(["", *expand_flagfiles(arguments)], known_only=True)[1:]
    except flags.Error as error:
        raise ValueError(str(error)) from error
    # Those of absl, such as --verbosity, are flags of every command.
    of_absl = {flag.name for flag in flags.FLAGS.flags_by_module_dict()["absl.logging"]}
    for argument in rest:
        if argument.lstrip("-").partition("=")[0] not in of_absl:
            raise ValueError(f"{argument}: expected --name=value with a flag of keras_alexnet.train")
    return flag_values(values)


def help_text() -> str:
    """What `--help` prints: all flags by group, with their defaults."""
    parts = [sys.modules["__main__"].__doc__ or ""]
    for group in GROUPS:
        parts.append(f"{group}:")
        for field in _fields_of(group):
            default = "" if field.default is None else f" (default: {_shown(field.default)})"
            text = textwrap.fill(
                f"{_description(field)}{default}", 112, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
            parts.append(f"  {', '.join(f'--{name}' for name in (field.name, *setting_of(field).aliases))}\n{text}")
        parts.append("")
    parts.append("--flagfile=FILE reads flags from a file; --helpfull lists the flags of all modules.")
    return "\n".join(parts)


def flag_table_markdown() -> str:
    """The flags as Markdown: for each group a heading and a table with flag, default, meaning and resumed runs."""
    lines = []
    for group in GROUPS:
        lines += [
            f"### {group.capitalize()}",
            "",
            "| flag | default | meaning | in a resumed run |",
            "|---|---|---|---|",
        ]
        for field in _fields_of(group):
            names = ", ".join(f"`--{name}`" for name in (field.name, *setting_of(field).aliases))
            default = "" if field.default is None else f"`{_shown(field.default)}`"
            description = markdown_cell(_description(field))
            lines.append(f"| {names} | {default} | {description} | {setting_of(field).resume.value} |")
        lines.append("")
    return "\n".join(lines)


def markdown_cell(text: str) -> str:
    """`text` in one line, with what the table of a Markdown page would interpret escaped."""
    # Python-Markdown shows the backslash of "\\<".
    return re.sub(r"([|*])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _fields_of(group: str) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(TrainingConfig) if setting_of(field).group == group]


def _description(field: dataclasses.Field) -> str:
    setting = setting_of(field)
    return f"{setting.help} [{', '.join(setting.choices)}]" if setting.choices else setting.help


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
