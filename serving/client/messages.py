"""Messages of TensorFlow Serving's API, imported without TensorFlow.

Their modules are in `tensorflow.core` and `tensorflow_serving`. Importing the package `tensorflow` above them takes 2
seconds of processor time and 560 MB, of which a client needs nothing.
"""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def _package_without_its_init(name: str) -> Iterator[None]:
    """Within it, modules of the package `name` are imported without its `__init__`, unless that has run already."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        yield
        return
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package
    try:
        yield
    finally:
        # A later `import tensorflow` finds nothing here and runs `__init__`.
        del sys.modules[name]


with _package_without_its_init("tensorflow"):
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.framework.tensor_pb2 import TensorProto
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
    from tensorflow_serving.apis.get_model_metadata_pb2 import (
        GetModelMetadataRequest,
        GetModelMetadataResponse,
        SignatureDefMap,
    )
    from tensorflow_serving.apis.model_pb2 import ModelSpec
    from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

__all__ = [
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "ModelSpec",
    "PredictRequest",
    "PredictResponse",
    "SignatureDefMap",
    "TensorProto",
    "TensorShapeProto",
    "types_pb2",
]
