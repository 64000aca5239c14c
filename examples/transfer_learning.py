"""Train a classifier on the fc7 features of a network that was trained on something else.

    python examples/transfer_learning.py trained.keras photos export/mine

The first argument is anything that `load_network` opens: a run directory, a .keras file, Caffe's or PyTorch's weights.
"""

import sys

import keras

import keras_alexnet


def main(
    trained: str, photos: str, export_base: str, variant: str = "paper", epochs: int = 5, batch_size: int = 32
) -> None:
    """Trains one layer; the layers below it keep the weights of `trained`, which is a network of this variant."""
    network = keras_alexnet.load_network(trained)
    features = keras_alexnet.features_model(network.model, layer="fc7")
    features.trainable = False

    train = keras_alexnet.training_dataset(f"folder:{photos}", batch_size=batch_size, variant=variant)
    outputs = keras.layers.Dense(len(train.class_names), activation="softmax", name="classes")(features.output)
    model = keras.Model(features.input, outputs)
    model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), loss="sparse_categorical_crossentropy")
    model.fit(train, epochs=epochs)

    # What export_model cannot see in a model that is not an AlexNet: the network subtracts its mean itself, and its
    # outputs are probabilities.
    exported = keras_alexnet.export_model(
        model, export_base, train.class_names, preprocessing="none", from_logits=False
    )
    print("exported to", exported)


if __name__ == "__main__":
    main(*sys.argv[1:])
