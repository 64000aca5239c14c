"""Tables on the terminal."""

from rich.console import Console
from rich.table import Table


def print_table(table: Table, width: int = 160) -> None:
    """Prints a table: as wide as the terminal, or with `width` columns to a file or a pipe, which have none."""
    console = Console()
    (console if console.is_terminal else Console(width=width)).print(table)
