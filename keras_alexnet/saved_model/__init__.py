"""Exports a network as a SavedModel for TensorFlow Serving. Importing this package needs no TensorFlow."""

# Of weights and most of the arithmetic of an exported AlexNet.
PRECISIONS = ("float32", "bfloat16")

FORMATS = ("saved_model", "onnx")
