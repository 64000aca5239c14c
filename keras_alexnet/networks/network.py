"""`Network`: what training, evaluation and export need to know about a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

# (classes, image_size, classifier_activation, **options) -> keras.Model. Not spelled with Keras' types: importing Keras
# takes seconds, and the names of the networks are choices of command-line flags.
Build = Callable[..., Any]


@dataclass(frozen=True)
class Network:
    """A network and the constants that belong to it.

    Attributes:
      name: as in `networks.names()`, or `package.module:function`.
      build: `build(classes, image_size, classifier_activation, **options)` returns a `keras.Model` which reads RGB
        images `[N, image_size, image_size, 3]` with pixel values 0..255 and contains its preprocessing. A model for
        training may have auxiliary outputs after the main one.
      image_size: side of the input in pixels, by default.
      resize_size: images are resized to this side before they are cropped to `image_size`.
      resize_policy: how, one of `pipelines.images.crops.RESIZE_POLICIES`.
      weight_decay: of training.
      features_layer: the layer that computes the features; None for the input of the last layer with weights.
      aux_loss_weights: one factor for the loss of each auxiliary output.
      options: the keywords that `build` accepts.
      towers: number of towers; those of a network with two can be trained on two devices.
      mean: what `build(mean=...)` gets in training: the training set's mean "image" or its mean of each channel
        ("channels"), or `rgb_mean` whatever the training set ("constant"). None for networks without that option, which
        ignore the statistics of the training set.
      rgb_mean: RGB mean, pixel values 0..255, that pretrained weights expect; None as for `mean`.
      mean_crop: one of `pipelines.choices.MEAN_CROPS`.
      color_augmentation: of training, one of `pipelines.choices.COLOR_AUGMENTATIONS`.
      bias_lr_multiplier, decay_biases: of training; see `PaperSGD`.
      published_crops: the crops of the authors' own test, one of `pipelines.choices.EVALUATION_CROPS`, where they are
        neither one nor ten.
    """

    name: str
    build: Build
    image_size: int
    resize_size: int
    resize_policy: str
    weight_decay: float
    features_layer: str | None
    aux_loss_weights: tuple[float, ...] = ()
    options: tuple[str, ...] = ()
    towers: int = 1
    mean: Literal["image", "channels", "constant"] | None = None
    rgb_mean: tuple[float, float, float] | None = None
    mean_crop: str = "central"
    color_augmentation: str = "none"
    bias_lr_multiplier: float = 1.0
    decay_biases: bool = True
    published_crops: str | None = None

    def resized_size(self, image_size: int) -> int:
        """The side that images are resized to before they are cropped to `image_size`."""
        return round(self.resize_size * image_size / self.image_size)
