"""The embedded server, loaded on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.server.model_server import ModelServer
    from serving.server.options import Options

__all__ = ["ModelServer", "Options"]

_MODULES = {"ModelServer": "serving.server.model_server", "Options": "serving.server.options"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
