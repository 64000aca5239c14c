"""The paper's two GPUs: one tower on each, trained with `fit`.

    python examples/two_gpus.py photos

Without two GPUs it uses two halves of the CPU, which is slower than one device but computes the same.
"""

import sys

import tensorflow as tf

import keras_alexnet


def two_devices() -> list[str]:
    """Two GPUs, or the CPU split in two."""
    if len(tf.config.list_physical_devices("GPU")) >= 2:
        return ["GPU:0", "GPU:1"]
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    return ["CPU:0", "CPU:1"]


def main(photos: str, devices: list[str], width: float = 1.0, epochs: int = 1, batch_size: int = 128) -> None:
    """Trains; tower 0 and its variables are on the first device, tower 1 on the second."""
    train = keras_alexnet.training_dataset(f"folder:{photos}", batch_size=batch_size)
    with keras_alexnet.TowerMirroredStrategy(devices).scope():
        model = keras_alexnet.AlexNet(classes=len(train.class_names), width=width, init="he")
        model.compile(keras_alexnet.PaperSGD(0.005), loss="sparse_categorical_crossentropy")
    for layer in ("conv1", "fc7"):
        print(layer, [variable.value.device for variable in model.get_layer(layer).trainable_variables])
    model.fit(train, epochs=epochs)


if __name__ == "__main__":
    main(sys.argv[1], two_devices())
