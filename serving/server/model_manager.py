"""The models of a server: finds the servable of a request, and follows the versions on disk.

Rules and status codes are those of tensorflow_serving/model_servers/server_core.cc and get_model_status_impl.cc.
"""

from collections.abc import Callable
from pathlib import Path

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.servable import Servable
from serving.server.status import RequestError
from serving.server.version_policy import Versions


class ModelManager:
    """Finds the servable of a request.

    Args:
        config: the models; one that `config_files.problem_in` accepts. The caller looks into `versions` for models of
            which nothing can be served.
        load: version's folder -> its servable, ready to serve.
        label_unavailable: whether labels may name versions that are not served yet.

    Attributes:
        versions: model name -> its versions.

    Raises:
        RequestError: FAILED_PRECONDITION, there is a label and `label_unavailable` is false. As in TensorFlow Serving:
            nothing is loaded when labels are read.
    """

    def __init__(self, config: ModelServerConfig, load: Callable[[Path], Servable], label_unavailable: bool = False):
        models = config.model_config_list.config
        for model in models:
            for version in [] if label_unavailable else model.version_labels.values():
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, which is not currently "
                    "available for inference",
                )
        self._labels = {model.name: dict(model.version_labels) for model in models}
        self.versions = {model.name: Versions(model, load) for model in models}
        self.refresh()

    def find(self, spec: ModelSpec) -> Servable:
        """The servable for `spec`.

        Raises:
            RequestError: INVALID_ARGUMENT for no name or an unknown label, NOT_FOUND for a version that is not served.
        """
        if not spec.name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified (model_spec.name).")
        version = spec.version.value if spec.HasField("version") else None
        if spec.HasField("version_label"):
            version = self._labelled(spec)
        if spec.name not in self.versions:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Latest({spec.name}); this server has {', '.join(self.versions)}",
            )
        return self.versions[spec.name].find(version)

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """States of the model's versions, or of the one version that `spec` names.

        Raises:
            RequestError: NOT_FOUND, the server never had it.
        """
        known = self.versions[spec.name].status() if spec.name in self.versions else []
        if spec.HasField("version"):
            known = [status for status in known if status.version == spec.version.value]
            if not known:
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND, f"Could not find version {spec.version.value} of model {spec.name}"
                )
        if not known:
            raise RequestError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return known

    def refresh(self) -> None:
        """Loads the versions of the policies that are on disk, and unloads the others. For one thread at a time."""
        for versions in self.versions.values():
            versions.refresh()

    def _labelled(self, spec: ModelSpec) -> int:
        labels = self._labels.get(spec.name, {})
        if spec.version_label not in labels:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {spec.version_label}; "
                f"there are {', '.join(sorted(labels)) or 'none'}",
            )
        return labels[spec.version_label]
