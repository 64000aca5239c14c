"""Which version of a model is served: always the newest one in the model's folder that can be loaded."""

import re
from pathlib import Path

from absl import logging

from serving.servable import GRAPH_FILE, Servable

# What a folder holds: path, size in bytes and time of change in nanoseconds of each file.
_Contents = frozenset[tuple[Path, int, int]]


def newest_version(base_path: Path) -> Path | None:
    """The folder in `base_path` with the greatest number for a name, among those that hold a SavedModel."""
    # 18 digits always fit the int64 of the protocol.
    folders = (graph.parent for graph in base_path.glob(f"*/{GRAPH_FILE}"))
    versions = [folder for folder in folders if re.fullmatch("[0-9]{1,18}", folder.name)]
    return max(versions, key=lambda folder: int(folder.name), default=None)


class Versions:
    """Follows a model folder.

    Args:
        base_path: folder of integer-named SavedModel folders.

    Attributes:
        current: the version that answers. Whoever holds it keeps it alive: requests end where they began.

    Raises:
        FileNotFoundError: no version in `base_path`. Also whatever `Servable` raises for the newest one.
    """

    def __init__(self, base_path: Path):
        folder = newest_version(base_path)
        if folder is None:
            raise FileNotFoundError(f"no version in {base_path}")
        self.current = Servable(folder)
        self._base_path = base_path
        self._failed: _Contents = frozenset()

    def refresh(self) -> None:
        """Moves to the newest version on disk, if that is another one than the current.

        The new version is whole in memory before the old one is let go. One that cannot be loaded is logged
        in one line, leaves the current one in place, and is tried again when its files change (they may still
        be arriving).
        """
        folder = newest_version(self._base_path)
        if folder is None or int(folder.name) == self.current.version:
            return
        try:
            contents = _contents(folder)
            if contents == self._failed:
                return
            self._failed = contents
            self.current = Servable(folder)
        except Exception as error:  # a broken folder may raise anything, and serving goes on
            reason = " ".join(str(error).split())[:300]
            logging.error("version %d stays: cannot load %s: %s", self.current.version, folder, reason)
            return
        # A warning only for its being shown without --verbosity.
        logging.warning("now serving version %d from %s", self.current.version, folder)


def _contents(folder: Path) -> _Contents:
    found = ((path, path.stat()) for path in folder.rglob("*"))
    return frozenset((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)
