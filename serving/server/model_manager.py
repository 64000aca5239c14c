"""The models of a server: what is configured, which version a request means, and changes while it runs.

Rules and status codes are those of tensorflow_serving/model_servers/server_core.cc and get_model_status_impl.cc.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
from absl import logging
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from serving.configuration import problem_in
from serving.request_errors import RequestError
from serving.servable import Servable
from serving.versions import Versions


class Models:
    """Finds what answers a request.

    Args:
        config: the models at the start. It is good (`configuration.problem_in`); whether anything can be served is
            for the caller to look at, in `versions`.
        load: version's folder -> what answers for it, ready to serve.
        label_unavailable: whether new labels may name versions that are not served yet.

    Attributes:
        versions: model name -> its versions.
        changed: set when a configuration waits for `refresh`.

    Raises:
        RequestError: FAILED_PRECONDITION, a label names a version that is not served.
    """

    def __init__(self, config: ModelServerConfig, load: Callable[[Path], Servable], label_unavailable: bool = False):
        self._load, self._label_unavailable = load, label_unavailable
        self._changing = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        self.versions: dict[str, Versions] = {}
        self._dropped: dict[str, Versions] = {}
        self.changed = threading.Event()
        models = config.model_config_list.config
        self._labels = {model.name: self._labels_of(model) for model in models}
        self.versions = {model.name: Versions(model, load) for model in models}
        self.refresh()

    def find(self, spec: ModelSpec) -> Servable:
        """What answers a request for `spec`.

        Raises:
            RequestError: INVALID_ARGUMENT for no name or an unknown label, NOT_FOUND for what is not served.
        """
        if not spec.name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified (model_spec.name).")
        if spec.HasField("version_label"):
            return self._find_labelled(spec)
        return self._versions(spec.name).find(spec.version.value if spec.HasField("version") else None)

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """States of the model's versions, or of the one version that `spec` names.

        Raises:
            RequestError: NOT_FOUND, never heard of it.
        """
        versions = self.versions.get(spec.name) or self._dropped.get(spec.name)
        known = versions.status() if versions else []
        if spec.HasField("version"):
            known = [status for status in known if status.version == spec.version.value]
            if not known:
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND, f"Could not find version {spec.version.value} of model {spec.name}"
                )
        if not known:
            raise RequestError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return known

    def reload(self, config: ModelServerConfig) -> None:
        """Puts `config` in the place of the configuration there is, wholly: a model that it does not list is dropped.

        Models that are new are loaded before this returns; new versions of the others are loaded after it, by
        `refresh`. A configuration that is refused changes nothing.

        Raises:
            RequestError: INVALID_ARGUMENT or FAILED_PRECONDITION for a configuration that cannot be, UNKNOWN for a
                new model of which nothing can be served.
        """
        problem = problem_in(config)
        if problem:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, problem)
        models = config.model_config_list.config
        with self._changing:
            labels = {model.name: self._labels_of(model) for model in models}
            added = {model.name: Versions(model, self._load) for model in models if model.name not in self.versions}
            for versions in added.values():
                versions.refresh()
            missing = [name for name, versions in added.items() if versions.current is None]
            if missing:
                raise RequestError(
                    grpc.StatusCode.UNKNOWN, f"{len(missing)} model(s) did not become available: {', '.join(missing)}"
                )
            for model in models:
                if model.name in self.versions:
                    self.versions[model.name].config = model
            known = self.versions
            self._labels = labels
            self.versions = {model.name: (known | added)[model.name] for model in models}
            for name in set(known) - set(self.versions):
                known[name].end()
                self._dropped[name] = known[name]
        logging.warning("serving the models %s", ", ".join(self.versions))
        self.changed.set()

    def refresh(self) -> None:
        """Loads the versions that the configuration asks for and that are on disk, and lets go of the others."""
        with self._changing:
            self.changed.clear()
            for versions in self.versions.values():
                versions.refresh()

    def _versions(self, name: str) -> Versions:
        versions = self.versions.get(name)
        if versions is None:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Latest({name}); this server has {', '.join(self.versions)}",
            )
        return versions

    def _find_labelled(self, spec: ModelSpec) -> Servable:
        version = self._labelled(spec)
        try:
            return self._versions(spec.name).find(version)
        except RequestError:
            if self._labelled(spec) == version:
                raise
            return self._find_labelled(spec)  # the label moved, and the version was let go, between the two lines

    def _labelled(self, spec: ModelSpec) -> int:
        labels = self._labels.get(spec.name, {})
        if spec.version_label not in labels:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {spec.version_label}; "
                f"there are {', '.join(sorted(labels)) or 'none'}",
            )
        return labels[spec.version_label]

    def _labels_of(self, model: ModelConfig) -> dict[str, int]:
        known = self._labels.get(model.name, {})
        served = self.versions[model.name].servables if model.name in self.versions else {}
        for label, version in model.version_labels.items():
            may_wait = self._label_unavailable and known.get(label, version) == version
            if version not in served and not may_wait:
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, which is not currently "
                    "available for inference",
                )
        return dict(model.version_labels)
