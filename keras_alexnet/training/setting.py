"""What a field of `TrainingConfig` declares, and the check of its value."""

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COMMON, DEVICES, DETAILS_2012, DEBUGGING = "common", "devices and clusters", "2012 details", "debugging"
GROUPS = (COMMON, DEVICES, DETAILS_2012, DEBUGGING)

_LARGEST_INT = 2**31 - 1


class Resume(enum.Enum):
    """What a resumed run does with a value that differs from the one it was started with."""

    CHANGE = "may change"
    KEEP = "keeps its own"
    REFUSE = "must be the same"


@dataclass(frozen=True)
class Setting:
    """What a field of `TrainingConfig` declares besides its type and its default.

    Attributes:
      help: one sentence, for `--help` and the documentation.
      group: one of `GROUPS`.
      lower, upper: bounds of a number, both allowed.
      choices: the allowed values of a string; any if empty.
      renamed: old value -> new value, accepted for one release.
      resume: what a resumed run does with it.
      aliases: other names of the flag.
      is_path: whether `~` stands for the home directory on the command line.
    """

    help: str
    group: str
    lower: float = 0
    upper: float = _LARGEST_INT
    choices: Sequence[str] = ()
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    resume: Resume = Resume.CHANGE
    aliases: Sequence[str] = ()
    is_path: bool = False


def declare(default: Any, group: str, help: str, **setting: Any) -> Any:
    """A field of `TrainingConfig`; `setting` are the other attributes of `Setting`."""
    return dataclasses.field(default=default, metadata=vars(Setting(help, group, **setting)))


def setting_of(field: dataclasses.Field) -> Setting:
    """What a field of `TrainingConfig` declares."""
    return Setting(**field.metadata)


def type_of(field: dataclasses.Field) -> type:
    """The type of a field of `TrainingConfig`, without `| None`: str, int, float, bool or list."""
    hint: Any = field.type
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return typing.get_origin(hint) or hint


def checked(field: dataclasses.Field, value: Any) -> Any:
    """`value`, or its new name; ValueError if it is of another type than the field or out of its range."""
    if value is None and field.default is None:
        return None
    kind, setting = type_of(field), setting_of(field)
    if kind is str and isinstance(value, str):
        value = setting.renamed.get(value, value)
    if kind in (int, float):
        accepted = isinstance(value, int | kind) and not isinstance(value, bool) and math.isfinite(value)
        accepted = accepted and setting.lower <= value <= setting.upper
        expected = f"{'an integer' if kind is int else 'a number'} from {setting.lower} to {setting.upper}"
    elif setting.choices:
        accepted, expected = value in setting.choices, f"one of {', '.join(setting.choices)}"
    else:
        accepted, expected = isinstance(value, kind), f"a {kind.__name__}"
    if not accepted:
        raise ValueError(f"{field.name}={value}: expected {expected}")
    return value
