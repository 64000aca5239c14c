"""Figures from arrays: no file and no network access, no TensorFlow. matplotlib is imported when a figure is drawn.

Each function returns a `matplotlib.figure.Figure`, or draws into the figure or subfigure that it is given.
"""

from keras_alexnet.plots.activations import activations_figure
from keras_alexnet.plots.architecture import Block, architecture_figure
from keras_alexnet.plots.comparison import comparison_curves_figure, comparison_figure
from keras_alexnet.plots.confusion import confusion_counts, confusion_figure
from keras_alexnet.plots.curves import learning_curves_figure, training_error_figure
from keras_alexnet.plots.kernels import color_share, kernels_figure
from keras_alexnet.plots.neighbours import Picture, neighbours_figure
from keras_alexnet.plots.predictions import mistakes_figure, predictions_figure
from keras_alexnet.plots.summary import summary_figure

__all__ = [
    "Block",
    "Picture",
    "activations_figure",
    "architecture_figure",
    "color_share",
    "comparison_curves_figure",
    "comparison_figure",
    "confusion_counts",
    "confusion_figure",
    "kernels_figure",
    "learning_curves_figure",
    "mistakes_figure",
    "neighbours_figure",
    "predictions_figure",
    "summary_figure",
    "training_error_figure",
]
