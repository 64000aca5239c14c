"""Client and server of TensorFlow Serving's API. Knows the signatures of an export, not the network behind them.

`serving.Client` and `serving.AsyncClient` send requests to TensorFlow Serving or to the embedded server,
`serving.ModelServer`. They are loaded on first use, so that `import serving` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client.api import AsyncClient, Client
    from serving.server.model_server import ModelServer

__all__ = ["AsyncClient", "Client", "ModelServer"]

_MODULES = {
    "AsyncClient": "serving.client.api",
    "Client": "serving.client.api",
    "ModelServer": "serving.server.model_server",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
