"""The versions of one model that are served: those that its version policy selects among the folders on disk."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from absl import logging
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from pipelines.cli import reason_of
from pipelines.cli.regular_files import unreadable_reason
from pipelines.cli.safe_text import one_line
from serving.server.servable import GRAPH_FILE, Servable
from serving.server.status import RequestError

# The files of a folder: path, size in bytes and time of change in nanoseconds of each file.
_Contents = frozenset[tuple[Path, int, int]]


def versions_on_disk(base_path: Path) -> dict[int, Path]:
    """The folders in `base_path` that have numbers for names and hold a SavedModel: version -> folder."""
    # 18 digits always fit the int64 of the protocol.
    folders = sorted(folder for folder in base_path.glob("*") if os.path.lexists(folder / GRAPH_FILE))
    return {int(folder.name): folder for folder in folders if re.fullmatch("[0-9]{1,18}", folder.name)}


def aspired_versions(config: ModelConfig, available: set[int]) -> set[int]:
    """The versions of `available` that the policy of `config` selects; the newest one if it has no policy."""
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return available
        case "specific":
            return available & set(policy.specific.versions)
        case _:
            return set(sorted(available)[-max(policy.latest.num_versions, 1) :])


@dataclass
class _Version:
    """The state of one version, and why it has ended if it was refused."""

    state: ModelVersionStatus.State
    error: str = ""
    files: _Contents = frozenset()  # those of the last attempt to load it


class Versions:
    """The versions of one model. `refresh` is called from one thread at a time, everything else from many.

    Args:
        config: name, base path and version policy of the model.
        load: version's folder -> its servable, ready to serve. It may raise anything for a broken folder.

    Attributes:
        servables: version -> servable. A reference keeps a servable alive: requests end on the version they began on.
    """

    def __init__(self, config: ModelConfig, load: Callable[[Path], Servable]):
        self.config = config
        self.servables: dict[int, Servable] = {}
        self._load = load
        self._history: dict[int, _Version] = {}

    @property
    def current(self) -> Servable | None:
        """The newest version that is served, for requests without a version."""
        servables = self.servables
        return servables[max(servables)] if servables else None

    def find(self, version: int | None) -> Servable:
        """The servable of `version`, or of requests without a version.

        Raises:
            RequestError: NOT_FOUND, it is not served.
        """
        servables = self.servables
        wanted = max(servables, default=None) if version is None else version
        if wanted not in servables:
            served = ", ".join(map(str, sorted(servables))) or "none"
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: {'Latest' if version is None else 'Specific'}"
                f"({self.config.name}{'' if version is None else f', {version}'}); served versions: {served}",
            )
        return servables[wanted]

    def status(self) -> list[ModelVersionStatus]:
        """The states of all versions that this server has known, newest first; those that have ended stay."""
        return [self._status(version) for version in sorted(self._history, reverse=True)]

    def refresh(self) -> None:
        """Loads the versions of the policy, and then unloads the others if at least one of the policy is served.

        A version that cannot be loaded is logged in one line, does not affect the others, and is tried again when its
        files change (they may still be arriving). Versions whose folders are gone are unloaded once another is served.
        """
        folders = versions_on_disk(Path(self.config.base_path))
        aspired = aspired_versions(self.config, set(folders))
        is_first = not self.servables
        news = [self._try(version, folders[version]) for version in sorted(aspired - set(self.servables), reverse=True)]
        if aspired & set(self.servables):
            for version in set(self.servables) - aspired:
                self._history[version].state = ModelVersionStatus.END
            self.servables = {version: self.servables[version] for version in aspired & set(self.servables)}
        for is_served, line in filter(None, news):
            if not is_served and self.servables:  # if nothing can be served, the server's own error says so
                logging.error("%s: still serving version %d: %s", self.config.name, max(self.servables), line)
            elif is_served and not is_first:  # a warning only for its being shown without --verbosity
                logging.warning("%s: %s", self.config.name, line)

    def _try(self, version: int, folder: Path) -> tuple[bool, str] | None:
        """Loads a version. Returns whether it is served now, and a log line; None without news."""
        before = self._history.get(version)
        try:
            contents = _contents(folder, Path(self.config.base_path))
            if before is not None and before.error and before.files == contents:
                return None
            self._history[version] = _Version(ModelVersionStatus.LOADING, files=contents)
            self.servables = self.servables | {version: self._load(folder)}
        except Exception as error:  # a broken folder may raise anything; the other versions are still served
            is_ours = isinstance(error, ValueError | OSError)  # and not a long one of TensorFlow
            reason = one_line(str(error) if is_ours else reason_of(error))[:300]
            refused = self._history.setdefault(version, _Version(ModelVersionStatus.LOADING))
            refused.state, refused.error = ModelVersionStatus.END, reason
            if before is not None and before.error == reason:
                return None
            return False, f"cannot load {one_line(str(folder))}: {reason}"
        self._history[version].state = ModelVersionStatus.AVAILABLE
        return True, f"now serving version {version} from {folder}"

    def _status(self, version: int) -> ModelVersionStatus:
        known = self._history[version]
        status = ModelVersionStatus(version=version, state=known.state)
        status.status.SetInParent()  # also code OK is written out by TensorFlow Serving
        if known.error:
            status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
            status.status.error_message = known.error
        return status


def _contents(folder: Path, base_path: Path) -> _Contents:
    """The files of a version.

    Raises:
        ValueError: one of them is not a regular file below `base_path`. A named pipe would block its reader, and a
            link to a device would fill the memory.
    """
    base, start, found = base_path.resolve(), folder.resolve(), set()
    for parent, directories, names in os.walk(start, onerror=_raise):
        for path in (Path(parent, name) for name in names + directories):
            is_link = path.is_symlink()
            reason = None if path.is_dir() and not is_link else unreadable_reason(path)
            # Resolved only where it may lead elsewhere: it takes as many steps as the path has parts.
            if reason is not None or not (path.resolve() if is_link else start).is_relative_to(base):
                raise ValueError(f"{path}: {reason or 'a link out of the base path'}; expected a regular file")
            if path.name in names:
                status = path.stat()
                found.add((path, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def _raise(error: OSError) -> None:
    raise error
