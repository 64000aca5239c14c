"""Clients of TensorFlow Serving and of the embedded server, loaded on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client.api import AsyncClient, Client
    from serving.client.endpoint import ServingError
    from serving.client.requests import Prediction

__all__ = ["AsyncClient", "Client", "Prediction", "ServingError"]

_MODULES = {
    "AsyncClient": "serving.client.api",
    "Client": "serving.client.api",
    "Prediction": "serving.client.requests",
    "ServingError": "serving.client.endpoint",
}


def __getattr__(name: str) -> Any:
    if name == "Result":  # the name of Prediction before version 0.2; for one release
        name = "Prediction"
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
