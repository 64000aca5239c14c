"""What stands on either side of the wire; knows the signatures, not the network.

`serving.Client` and `serving.AsyncClient` ask a server for answers, `serving.ModelServer` is the embedded server. They
are loaded when first used, so that `import serving` costs nothing.
"""

import importlib

_MODULES = {
    "AsyncClient": "serving.client_library",
    "Client": "serving.client_library",
    "ModelServer": "serving.server",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> type:
    if name not in _MODULES:
        raise AttributeError(f"module 'serving' has no attribute {name!r}")
    importlib.import_module("pipelines.cli")  # first: it loads TensorFlow without its start-up chatter
    return getattr(importlib.import_module(_MODULES[name]), name)
