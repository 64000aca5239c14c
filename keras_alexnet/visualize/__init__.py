"""Figures of a trained network. Importing this package needs no TensorFlow and no matplotlib."""

# What `python -m keras_alexnet.visualize` draws.
FIGURES = (
    *("kernels", "predictions", "neighbours", "activations", "confusion", "errors", "architecture"),
    *("curves", "summary"),
)
