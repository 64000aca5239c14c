"""Classify photographs with the weights of Caffe's model zoo.

    python examples/caffe_weights.py bvlc_alexnet.caffemodel cat.jpg dog.jpg

The file is not part of this package: see "Pretrained weights" in docs/networks.md.
"""

import sys

import keras
import numpy as np

import keras_alexnet


def main(weights: str, *files: str, variant: str = "caffe") -> None:
    """Prints the five most probable classes of ImageNet for each file."""
    model = keras_alexnet.AlexNet(variant, weights=weights)
    for file in files:
        image = np.asarray(keras.utils.load_img(file), np.float32)
        batch = keras_alexnet.preprocess_input(image[np.newaxis], variant=variant)
        print(file)
        for wnid, name, score in keras_alexnet.decode_predictions(model.predict(batch, verbose=0))[0]:
            print(f"  {score:6.1%}  {wnid}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
