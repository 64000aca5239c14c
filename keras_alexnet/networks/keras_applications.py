"""The networks of `keras.applications`, with their preprocessing as layers of the model.

References: Keras' sources, `keras/src/applications/*.py` (preprocessing modes, input sizes); the papers named below
(weight decay of training).
"""

import functools
from typing import Any

from keras_alexnet.networks.network import Network
from keras_alexnet.variants.architecture import CROP_FRACTION

PREFIX = "keras.applications."

# Family: (constructor name -> input size), preprocessing mode ("none": the constructor's model contains it), weight
# decay, options of the constructors.
_FAMILIES: tuple[tuple[dict[str, int], str, float, tuple[str, ...]], ...] = (
    # Liu et al. 2022 train with AdamW, whose decay is not comparable with SGD's: this is ResNet's value.
    ({f"ConvNeXt{size}": 224 for size in ("Tiny", "Small", "Base", "Large", "XLarge")}, "none", 1e-4, ()),
    # Huang et al. 2017, section 4.2.
    ({f"DenseNet{depth}": 224 for depth in (121, 169, 201)}, "torch", 1e-4, ()),
    # Tan and Le 2019, section 5.2; 2021, section 5.1.
    (
        {f"EfficientNetB{k}": size for k, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))},
        "none",
        1e-5,
        (),
    ),
    ({f"EfficientNetV2B{k}": size for k, size in enumerate((224, 240, 260, 300))}, "none", 1e-5, ()),
    ({"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480}, "none", 1e-5, ()),
    # TensorFlow-Slim, train_image_classifier.py.
    ({"InceptionResNetV2": 299, "InceptionV3": 299}, "tf", 4e-5, ()),
    ({"MobileNet": 224}, "tf", 4e-5, ("alpha", "depth_multiplier", "dropout")),
    # Sandler et al. 2018, section 6.1.
    ({"MobileNetV2": 224}, "tf", 4e-5, ("alpha",)),
    # Howard et al. 2019, section 6.1.
    ({"MobileNetV3Large": 224, "MobileNetV3Small": 224}, "none", 1e-5, ("alpha", "minimalistic", "dropout_rate")),
    # TensorFlow-Slim, train_image_classifier.py.
    ({"NASNetLarge": 331, "NASNetMobile": 224}, "tf", 4e-5, ()),
    # He et al. 2016, section 3.4; "Identity mappings", appendix.
    ({f"ResNet{depth}": 224 for depth in (50, 101, 152)}, "caffe", 1e-4, ()),
    ({f"ResNet{depth}V2": 224 for depth in (50, 101, 152)}, "tf", 1e-4, ()),
    # Simonyan and Zisserman 2015, section 3.1.
    ({"VGG16": 224, "VGG19": 224}, "caffe", 5e-4, ()),
    # Chollet 2017, section 4.3.
    ({"Xception": 299}, "tf", 1e-5, ()),
)
CONSTRUCTORS: tuple[str, ...] = tuple(constructor for sizes, *_ in _FAMILIES for constructor in sizes)


def networks() -> list[Network]:
    """One network for each constructor of `keras.applications`."""
    return [
        Network(
            name=PREFIX + constructor,
            build=functools.partial(_build, constructor, mode),
            image_size=size,
            resize_size=round(size / CROP_FRACTION),
            resize_policy="shorter_side",
            weight_decay=weight_decay,
            features_layer=None,
            options=options,
        )
        for sizes, mode, weight_decay, options in _FAMILIES
        for constructor, size in sizes.items()
    ]


def _build(
    constructor: str,
    mode: str,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    **options: Any,
) -> Any:
    import keras

    images = keras.Input((image_size, image_size, 3), name="images")
    model = getattr(keras.applications, constructor)(
        weights=None,
        input_tensor=_preprocessed(images, mode),
        input_shape=(image_size, image_size, 3),
        classes=classes,
        classifier_activation=classifier_activation,
        **options,
    )
    if model.outputs[0].dtype == "float32":
        return model
    # Mixed precision: the loss needs float32.
    outputs = keras.layers.Activation("linear", dtype="float32", name="float32")(model.outputs[0])
    return keras.Model(model.inputs, outputs, name=model.name)


def _preprocessed(images: Any, mode: str) -> Any:
    """What `keras.applications.imagenet_utils.preprocess_input` does in this mode, as layers."""
    import keras

    from keras_alexnet.layers import MeanSubtraction

    if mode == "none":
        return images
    if mode == "tf":
        return MeanSubtraction((127.5,) * 3, 1 / 127.5, name="preprocessing")(images)
    if mode == "torch":
        mean = tuple(255 * value for value in (0.485, 0.456, 0.406))
        scale = tuple(1 / (255 * value) for value in (0.229, 0.224, 0.225))
        return MeanSubtraction(mean, scale, name="preprocessing")(images)
    # "caffe": blue first.
    return keras.ops.flip(MeanSubtraction((123.68, 116.779, 103.939), name="preprocessing")(images), axis=-1)
