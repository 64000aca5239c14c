"""The options of a network as text: `depth=20,dropout=0.5`."""

import ast
from typing import Any


def parse_options(text: str | None) -> dict[str, Any]:
    """Parses the options of a network.

    Args:
      text: `name=value` separated by commas; None for no options. A value is a number, True, False, None, a word, or a
        list or tuple of such values in brackets.

    Returns:
      Name -> value, as JSON can hold it: tuples become lists.

    Raises:
      ValueError: the text has another form.

    Examples:
        >>> parse_options("depth=20,order=pre,filters=(16, 32)")
        {'depth': 20, 'order': 'pre', 'filters': [16, 32]}
    """
    try:
        call = ast.parse(f"options({text or ''})", mode="eval").body
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)
            or call.args
            or len({part.arg for part in call.keywords} - {None}) < len(call.keywords)
        ):
            raise ValueError("no name=value")
        return {str(part.arg): _value(part.value) for part in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"network_options={text}: expected name=value,name=value, such as depth=20") from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    value = ast.literal_eval(node)
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError("no number and no word")
    return value
