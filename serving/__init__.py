"""What stands on either side of the wire; knows the signatures, not the network.

`serving.Client` asks a server for answers, `serving.ModelServer` is the embedded server. Both are loaded when
first used, so that `import serving` costs nothing.
"""

__all__ = ["Client", "ModelServer"]


def __getattr__(name: str) -> type:
    if name == "Client":
        from serving.client import Client

        return Client
    if name == "ModelServer":
        from serving.server import ModelServer

        return ModelServer
    raise AttributeError(f"module 'serving' has no attribute {name!r}")
