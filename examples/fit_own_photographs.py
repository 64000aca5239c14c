"""Train on a folder of photographs and export the result.

    python examples/fit_own_photographs.py photos export/mine

The folder has photos/train/<class>/*.jpg and photos/val/<class>/*.jpg.
"""

import sys

import keras_alexnet


def main(photos: str, export_base: str, width: float = 0.25, epochs: int = 10, batch_size: int = 32) -> None:
    """Trains an AlexNet with `width` times the filters and units, and exports it under `export_base`."""
    dataset = f"folder:{photos}"
    train = keras_alexnet.training_dataset(dataset, batch_size=batch_size)
    validation = keras_alexnet.evaluation_dataset(dataset, split="validation", batch_size=batch_size)

    # He's initialization starts faster on a small dataset than the paper's.
    model = keras_alexnet.AlexNet(classes=len(train.class_names), width=width, init="he")
    model.compile(
        optimizer=keras_alexnet.PaperSGD(learning_rate=0.005),
        loss="sparse_categorical_crossentropy",
        metrics=[keras_alexnet.Top1Error()],
    )
    model.fit(train, validation_data=validation, epochs=epochs)

    # One file with the whole network, and a SavedModel that TensorFlow Serving can load.
    model.save("mine.keras")
    print("exported to", keras_alexnet.export_model(model, export_base, train.class_names))


if __name__ == "__main__":
    main(*sys.argv[1:])
