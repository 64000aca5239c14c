"""Which versions of one model are served: those that its version policy picks among the folders on disk."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from absl import logging
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from serving.request_errors import RequestError
from serving.servable import GRAPH_FILE, Servable

# What a folder holds: path, size in bytes and time of change in nanoseconds of each file.
_Contents = frozenset[tuple[Path, int, int]]


def versions_on_disk(base_path: Path) -> dict[int, Path]:
    """The folders in `base_path` with numbers for names, among those that hold a SavedModel: version -> folder."""
    # 18 digits always fit the int64 of the protocol.
    folders = sorted(graph.parent for graph in base_path.glob(f"*/{GRAPH_FILE}"))
    return {int(folder.name): folder for folder in folders if re.fullmatch("[0-9]{1,18}", folder.name)}


def aspired_versions(config: ModelConfig, available: set[int]) -> set[int]:
    """Those of `available` that the version policy of `config` asks for; the newest one if it has no policy."""
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
    """One version in the life of a server: its state, and why it has ended if it was refused."""

    state: ModelVersionStatus.State
    error: str = ""
    files: _Contents = frozenset()  # those that it was loaded from, or that could not be


class Versions:
    """The versions of one model. `refresh` is called from one thread at a time, everything else from many.

    Args:
        config: name, base path and version policy of the model; may be replaced.
        load: version's folder -> what answers for it, ready to serve. It may raise anything for a broken folder.

    Attributes:
        servables: version -> what answers. Whoever holds a servable keeps it alive: requests end where they began.
    """

    def __init__(self, config: ModelConfig, load: Callable[[Path], Servable]):
        self.config = config
        self.servables: dict[int, Servable] = {}
        self._load = load
        self._history: dict[int, _Version] = {}

    @property
    def current(self) -> Servable | None:
        """The newest version that is served: it answers requests that name none."""
        servables = self.servables
        return servables[max(servables)] if servables else None

    def find(self, version: int | None) -> Servable:
        """What answers for `version`, or for requests that name none.

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

    def end(self) -> None:
        """Lets go of all versions."""
        self.servables = {}
        for version in self._history.values():
            version.state = ModelVersionStatus.END

    def refresh(self) -> None:
        """Loads what the policy asks for and then lets go of the rest, while at least one version answers.

        One that cannot be loaded is logged in one line, changes nothing for the others, and is tried again when its
        files change (they may still be arriving). Versions whose folders are gone leave once another is there.
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
                logging.error("%s: version %d stays: %s", self.config.name, self.current.version, line)
            elif is_served and not is_first:  # a warning only for its being shown without --verbosity
                logging.warning("%s: %s", self.config.name, line)

    def _try(self, version: int, folder: Path) -> tuple[bool, str] | None:
        """Loads a version: whether it is served now, and a line that says so; None if there was nothing new to try."""
        before = self._history.get(version)
        try:
            contents = _contents(folder)
            if before is not None and before.error and before.files == contents:
                return None
            self._history[version] = _Version(ModelVersionStatus.LOADING, files=contents)
            self.servables = self.servables | {version: self._load(folder)}
        except Exception as error:  # a broken folder may raise anything, and serving goes on
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            refused = self._history.setdefault(version, _Version(ModelVersionStatus.LOADING))
            refused.state, refused.error = ModelVersionStatus.END, reason
            return False, f"cannot load {folder}: {reason}"
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


def _contents(folder: Path) -> _Contents:
    found = ((path, path.stat()) for path in folder.rglob("*"))
    return frozenset((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)
