"""Exporting a network as a SavedModel for TensorFlow Serving."""
